# SPDX-License-Identifier: Apache-2.0
"""The student network, one file per concept; `student.py` puts them together."""
