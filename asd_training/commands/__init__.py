# SPDX-License-Identifier: Apache-2.0
"""The command lines asd-train, asd-bag, asd-bench and asd-demo; one thin file per command."""
