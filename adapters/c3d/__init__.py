"""C3D, the file format of biomechanics: reads recordings, and writes synthetic ones."""
