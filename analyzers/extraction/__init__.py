"""Guest RAM and device state out of a migration.

``rebuild`` takes a migration as a recording gives it, judges how far a destination gets with it, and loads that far;
``rebuild_memory`` takes decoded items and gives RAM only, at the speed fuzzing needs.
"""

from __future__ import annotations

from analyzers.extraction.lean import rebuild_memory
from analyzers.extraction.output import Folder
from analyzers.extraction.rebuild import RebuildOptions, rebuild
from analyzers.extraction.results import Rebuilt, RebuiltBlock, RebuiltDevice

__all__ = ["Folder", "RebuildOptions", "Rebuilt", "RebuiltBlock", "RebuiltDevice", "rebuild", "rebuild_memory"]
