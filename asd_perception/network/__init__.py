# SPDX-License-Identifier: Apache-2.0
"""The student network, one file a concept; `student.py` puts them together."""
