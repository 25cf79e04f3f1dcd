package platform

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNetlinkFeature: each reason why NETLINK_CRYPTO cannot be used has a remedy.
func TestNetlinkFeature(t *testing.T) {
	if f := NetlinkFeature(nil); f != (Feature{Usable: true}) {
		t.Errorf("no error: %+v", f)
	}
	for _, e := range []error{unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EPERM, unix.ENOBUFS, errors.New("no answer")} {
		if f := NetlinkFeature(e); f.Usable || f.Reason == "" || f.Remedy == "" {
			t.Errorf("%v: %+v", e, f)
		}
	}
}
