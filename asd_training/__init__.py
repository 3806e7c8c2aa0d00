# SPDX-License-Identifier: Apache-2.0
"""What the workstation needs: data, training, evaluation and bags."""
