inherit ${@bb.utils.contains('DISTRO_FEATURES', 'uringhttpd', 'uringhttpd-kernel', '', d)}
