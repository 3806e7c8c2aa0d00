# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes of road users and things, and rays against them."""
