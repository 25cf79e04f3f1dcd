//go:build debian

package debian

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var keep = flag.Bool("keep", false, "keep the machine's disks and logs in /tmp")

// bootTimeout is for the whole run in the machine, in emulation.
const bootTimeout = 20 * time.Minute

// TestInstall boots Debian, installs, starts the service, and reports each
// verdict of testdata/prove.sh as a test of its own.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	if *keep {
		var err error
		if dir, err = os.MkdirTemp("", "uringhttpd-debian-"); err != nil {
			t.Fatal(err)
		}
		t.Logf("the machine's files are in %s", dir)
	}
	base := debianImage(t)

	// The machine's second disk: what is installed, and the script.
	proof := filepath.Join(dir, "proof")
	if err := os.MkdirAll(proof, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "make", "-C", "../..", "all")
	run(t, "make", "-C", "../..", "install", "DESTDIR="+filepath.Join(proof, "root"))
	run(t, "cp", "testdata/prove.sh", proof)
	payload := filepath.Join(dir, "proof.tar")
	run(t, "tar", "--owner=root:0", "--group=root:0", "-C", proof, "-cf", payload, ".")

	console := filepath.Join(dir, "console.log")
	verdicts := filepath.Join(dir, "verdicts.log")
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	// One processor: with two, QEMU 7.2 was seen to hang while the kernel boots.
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64",
		// QEMU executes a fast string move byte by byte; the kernel does without.
		"-accel", "tcg", "-cpu", "max,-erms,-fsrm", "-smp", "1", "-m", "1024",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none",
		"-kernel", base.kernel, "-initrd", base.initrd,
		"-append", "root=/dev/vda rw console=ttyS0 panic=-1 systemd.show_status=no",
		"-drive", "file="+base.disk+",format=raw,if=virtio,snapshot=on",
		"-drive", "file="+payload+",format=raw,if=virtio,readonly=on",
		"-serial", "file:"+console,
		"-serial", "file:"+verdicts,
	)
	var stderr bytes.Buffer
	qemu.Stderr = &stderr
	start := time.Now()
	err := qemu.Run()
	t.Logf("the machine ran for %v", time.Since(start).Round(time.Second))
	text := strings.ReplaceAll(logged(t, verdicts), "\r", "")
	t.Logf("verdicts and journal:\n%s", text)
	if err != nil {
		t.Fatalf("qemu: %v\n%s\nend of the console:\n%s", err, stderr.String(), tail(logged(t, console)))
	}

	ended, count := false, 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "end" {
			ended = true
			break
		}
		if name, found := strings.CutPrefix(line, "ok "); found {
			count++
			t.Run(name, func(*testing.T) {})
		}
		if rest, found := strings.CutPrefix(line, "FAIL "); found {
			count++
			name, why, _ := strings.Cut(rest, ": ")
			t.Run(name, func(t *testing.T) { t.Error(why) })
		}
	}
	if !ended || count == 0 {
		t.Errorf("%d verdicts, and the script did not come to its end; end of the console:\n%s", count, tail(logged(t, console)))
	}
}

func logged(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func tail(text string) string { return text[max(0, len(text)-4000):] }
