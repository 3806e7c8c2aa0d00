# SPDX-License-Identifier: Apache-2.0
"""Operations that deserve a fast implementation, each beside a plain reference."""
