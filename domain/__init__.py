"""The domain of EMG therapy sessions: values, ports and the EMG analysis. Standard library, numpy and scipy only."""
