# SPDX-License-Identifier: Apache-2.0
"""What frames, trainings and their parts cost, measured."""
