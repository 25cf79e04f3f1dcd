package platform

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/platform/cryptoapi"
)

// readCrypto fills in the drivers of the ciphers.
func (r *Report) readCrypto() error {
	all, err := cryptoapi.Read()
	r.Netlink = NetlinkFeature(cryptoapi.MarkHardware(all))
	r.GCM = cryptoapi.Implementations(all, ktls.AlgorithmGCM)
	r.CTR = cryptoapi.Implementations(all, "ctr(aes)")
	r.ChaCha20 = cryptoapi.Implementations(all, ktls.AlgorithmChaCha20)
	return err
}

// NetlinkFeature explains the error of cryptoapi.MarkHardware. The errnos are those of
// netlink_create in net/netlink/af_netlink.c.
func NetlinkFeature(err error) Feature {
	var errno unix.Errno
	errors.As(err, &errno)
	switch {
	case err == nil:
		return Feature{Usable: true}
	case errno == unix.EPROTONOSUPPORT:
		return Feature{
			Reason: "the kernel has no NETLINK_CRYPTO, or none in this network namespace",
			Remedy: "run modprobe crypto_user; if there is no such module, build the kernel with CONFIG_CRYPTO_USER=m or y",
		}
	case errno == unix.EAFNOSUPPORT || errno == unix.EPERM || errno == unix.EACCES:
		return Feature{
			Reason: fmt.Sprintf("this process may not use AF_NETLINK: %v", errno),
			Remedy: "allow AF_NETLINK in RestrictAddressFamilies= of the unit",
		}
	}
	return Feature{Inconclusive: true, Reason: err.Error(), Remedy: "try again"}
}
