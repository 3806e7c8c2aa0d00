# SPDX-License-Identifier: Apache-2.0
"""Every dataclass of a run's configuration; imports neither torch nor nuscenes."""
