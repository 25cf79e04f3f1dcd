inherit ${@bb.utils.contains('DISTRO_FEATURES', 'uringhttpd', 'uringhttpd-kernel', '', d)}

SRC_URI:append = "${@bb.utils.contains('DISTRO_FEATURES', 'uringhttpd', ' file://uringhttpd-caam.cfg', '', d)}"
