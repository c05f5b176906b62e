"""Guest RAM and device state out of a migration.

``rebuild`` takes a migration as a recording gives it, judges how far a destination gets with it, and loads that far;
``rebuild_memory`` takes decoded items and gives RAM only, at the speed fuzzing needs.
"""

from __future__ import annotations

from analyzers.extract.lean import rebuild_memory
from analyzers.extract.output import Folder
from analyzers.extract.rebuild import RebuildOptions, rebuild
from analyzers.extract.results import Rebuilt, RebuiltBlock, RebuiltDevice

__all__ = ["Folder", "RebuildOptions", "Rebuilt", "RebuiltBlock", "RebuiltDevice", "rebuild", "rebuild_memory"]
