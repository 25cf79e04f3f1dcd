package platform

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadStatus(t *testing.T) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // low and high 32 bits
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	got := readStatus()
	if want := uint64(data[1].Effective)<<32 | uint64(data[0].Effective); got.capEff != want {
		t.Errorf("effective capabilities %#x, want %#x as capget says", got.capEff, want)
	}
	if got.seccomp < 0 || got.seccomp > seccompFilter {
		t.Errorf("seccomp mode %d, want 0 to %d", got.seccomp, seccompFilter)
	}
}
