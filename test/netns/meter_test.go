//go:build netns

package netns

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"uringhttpd/test/wrong"
)

// inNamespace runs a program in a new network namespace, and returns its output.
func inNamespace(program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestMeterIsExactBehindADroppingQueue runs the test of the meter behind a queue that drops packets.
// The same test must fail with the mutant wrong.WrongMeter.
func TestMeterIsExactBehindADroppingQueue(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	run := func(t *testing.T, flags ...string) (string, error) {
		program := filepath.Join(t.TempDir(), "ktls.test")
		args := append([]string{"test", "-c", "-tags", "netns", "-o", program}, flags...)
		cmd := exec.Command("go", append(args, "./ktls")...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return inNamespace(program, "-test.run", "^TestMeterBehindQueue$", "-test.v")
	}
	t.Run("right", func(t *testing.T) {
		out, err := run(t)
		if err != nil || !strings.Contains(out, "PASS: TestMeterBehindQueue") {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("wrong", func(t *testing.T) {
		overlay, err := wrong.WrongMeter.Overlay(root, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		out, err := run(t, "-overlay", overlay)
		if err == nil || !strings.Contains(out, "the meter is wrong by") {
			t.Errorf("the test does not fail with the mutant: %v\n%s", err, out)
		}
		t.Log(out)
	})
}
