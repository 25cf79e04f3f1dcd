SUMMARY = "Firmware files over HTTPS from kernel TLS and io_uring"
DESCRIPTION = "A daemon that serves a directory of firmware and asset files over HTTPS. \
TLS records are encrypted in the kernel, by the driver that the kernel selects, and \
files go from storage to the socket through one io_uring without entering user space."
SECTION = "net"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://src/${GO_IMPORT}/LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

PV = "0.1.0+git"

# The source is the HEAD of the checkout that contains this layer, unless the site sets another one;
# see the layer's README.md.
URINGHTTPD_GIT ?= "${@uringhttpd_checkout(d)}"
URINGHTTPD_SRCREV ?= "${AUTOREV}"

def uringhttpd_checkout(d):
    top = os.path.normpath(os.path.join(d.getVar('URINGHTTPD_LAYERDIR'), '..', '..'))
    if os.path.exists(os.path.join(top, '.git')):
        return 'git://%s;protocol=file;usehead=1' % top
    return ''

python () {
    if not d.getVar('URINGHTTPD_GIT'):
        raise bb.parse.SkipRecipe('this layer is not in a checkout of the project: set URINGHTTPD_GIT and URINGHTTPD_SRCREV')
}

SRC_URI = "${URINGHTTPD_GIT};destsuffix=${GO_SRCURI_DESTSUFFIX}"
SRCREV = "${URINGHTTPD_SRCREV}"

# The linked Go modules and their licences.
require ${BPN}-go-mods.inc
require ${BPN}-licenses.inc

GO_IMPORT = "uringhttpd"
GO_INSTALL = "${GO_IMPORT}"

inherit go-mod go-mod-update-modules systemd useradd features_check

REQUIRED_DISTRO_FEATURES = "systemd"

# One static program, as make builds it: no C library, no shared Go runtime.
# For 32-bit ARM Go has no position-independent executables without cgo.
export CGO_ENABLED = "0"
GO_LINKSHARED = ""
GOBUILDFLAGS:remove = "-buildmode=pie"
GO_EXTRA_LDFLAGS = "-X main.Version=${PV}"

SYSTEMD_SERVICE:${PN} = "uringhttpd.service"

USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --user-group --no-create-home --home-dir / --shell /sbin/nologin uringhttpd"

# do_install of go.bbclass would also package all sources.
do_install() {
    install -d ${D}${bindir}
    install -m 0755 ${B}/${GO_BUILD_BINDIR}/uringhttpd ${D}${bindir}/uringhttpd

    source=${S}/src/${GO_IMPORT}
    install -d ${D}${systemd_system_unitdir} ${D}${nonarch_libdir}/tmpfiles.d \
        ${D}${nonarch_libdir}/modules-load.d ${D}${sysconfdir}/uringhttpd
    install -m 0644 $source/systemd/uringhttpd.service ${D}${systemd_system_unitdir}/
    install -m 0644 $source/systemd/uringhttpd-keygen.service ${D}${systemd_system_unitdir}/
    install -m 0644 $source/systemd/uringhttpd.tmpfiles ${D}${nonarch_libdir}/tmpfiles.d/uringhttpd.conf
    install -m 0644 $source/systemd/uringhttpd.modules-load ${D}${nonarch_libdir}/modules-load.d/uringhttpd.conf
    install -m 0644 $source/config/uringhttpd.yaml ${D}${sysconfdir}/uringhttpd/uringhttpd.yaml

    # The same as uringhttpd.tmpfiles, for images whose /etc and /srv are
    # read-only when tmpfiles runs.
    chown root:uringhttpd ${D}${sysconfdir}/uringhttpd
    chmod 0750 ${D}${sysconfdir}/uringhttpd
    install -d ${D}/srv/firmware
}

FILES:${PN} += "\
    ${systemd_system_unitdir}/uringhttpd-keygen.service \
    ${nonarch_libdir}/tmpfiles.d/uringhttpd.conf \
    ${nonarch_libdir}/modules-load.d/uringhttpd.conf \
    /srv/firmware \
"
CONFFILES:${PN} = "${sysconfdir}/uringhttpd/uringhttpd.yaml"

# Kernel modules. A recommendation has no effect if the option is built into the kernel.
RRECOMMENDS:${PN} += "\
    kernel-module-tls \
    kernel-module-gcm \
    kernel-module-ghash-generic \
    kernel-module-ctr \
    kernel-module-chacha20poly1305 \
    kernel-module-algif-aead \
"
