# SPDX-License-Identifier: Apache-2.0
"""What stands along a street and is not annotated."""
