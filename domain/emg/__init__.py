"""The EMG analysis: arrays and rates in, values out. Formulas and their sources stand beside each function."""
