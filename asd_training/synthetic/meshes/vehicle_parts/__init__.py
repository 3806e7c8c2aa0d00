# SPDX-License-Identifier: Apache-2.0
"""What vehicles are built from: bodies, fittings, cargo, parts of machines."""
