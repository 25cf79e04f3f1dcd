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

// bootTimeout is the time limit for the whole run of the emulated machine.
const bootTimeout = 20 * time.Minute

// TestInstalledServicePassesEachCheck boots Debian and runs testdata/prove.sh, which installs and
// starts the service. Each line of the script is a subtest.
func TestInstalledServicePassesEachCheck(t *testing.T) {
	dir := t.TempDir()
	if *keep {
		var err error
		if dir, err = os.MkdirTemp("", "uringhttpd-debian-"); err != nil {
			t.Fatal(err)
		}
		t.Logf("the machine's files are in %s", dir)
	}
	base := debianImage(t)

	// The second disk of the machine has the installed files and the script.
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
	checks := filepath.Join(dir, "checks.log")
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	// One processor: with two, QEMU 7.2 sometimes hangs while the kernel boots.
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64",
		// QEMU executes a fast string move byte by byte; the kernel does without.
		"-accel", "tcg", "-cpu", "max,-erms,-fsrm", "-smp", "1", "-m", "1024",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none",
		"-kernel", base.kernel,
		"-append", "root=/dev/nvme0n1 rootwait rw console=ttyS0 panic=-1 systemd.show_status=no",
		"-device", "nvme,serial=board",
		"-drive", "file="+base.disk+",format=raw,if=none,id=root,snapshot=on", "-device", "nvme-ns,drive=root,nsid=1",
		"-drive", "file="+payload+",format=raw,if=none,id=proof,readonly=on", "-device", "nvme-ns,drive=proof,nsid=2",
		"-serial", "file:"+console,
		"-serial", "file:"+checks,
	)
	var stderr bytes.Buffer
	qemu.Stderr = &stderr
	start := time.Now()
	err := qemu.Run()
	t.Logf("the machine ran for %v", time.Since(start).Round(time.Second))
	text := strings.ReplaceAll(logged(t, checks), "\r", "")
	t.Logf("checks and journal:\n%s", text)
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
		t.Errorf("%d checks, and the script did not reach its end; end of the console:\n%s", count, tail(logged(t, console)))
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
