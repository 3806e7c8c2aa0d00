# SPDX-License-Identifier: Apache-2.0
"""What the student learns from the teacher: one file a loss, and the objective that sums them.

Of the paper (Zhao et al., AAAI 2026, doi 10.1609/aaai.v40i16.38323) only the abstract is at hand.
The formulas here are this project's own reading of it.
"""
