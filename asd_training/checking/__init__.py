# SPDX-License-Identifier: Apache-2.0
"""Whether a data set is what training needs: before a run, and looked through as a whole."""
