# SPDX-License-Identifier: Apache-2.0
"""Training without the host: samples that lie on the device, and the step recorded there."""
