"""In-memory adapters: the smallest things that keep the ports' promises, and so what the contract suite reads as the reference.

Selectable by `STORAGE=memory`. What they hold ends with the process.
"""

from adapters.memory.patient_assignments import MemoryPatientAssignments
from adapters.memory.processing_queue import MemoryProcessingQueue, MemoryProcessingWorker
from adapters.memory.session_analytics import MemorySessionAnalyticsRepository
from adapters.memory.session_registry import MemorySessionRegistry
from adapters.memory.signal_previews import MemorySignalPreviews

__all__ = [
    "MemoryPatientAssignments",
    "MemoryProcessingQueue",
    "MemoryProcessingWorker",
    "MemorySessionAnalyticsRepository",
    "MemorySessionRegistry",
    "MemorySignalPreviews",
]
