# The kernel options that uringhttpd needs, for recipes that inherit kernel-yocto.

FILESEXTRAPATHS:prepend := "${URINGHTTPD_LAYERDIR}/recipes-kernel/linux/uringhttpd:"

SRC_URI:append = " file://uringhttpd.cfg"
SRC_URI:append:arm = " file://uringhttpd-arm.cfg"
SRC_URI:append:aarch64 = " file://uringhttpd-arm64.cfg"
