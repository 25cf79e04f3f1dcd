package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// installed is the program that the units start. The tests replace it by their own executable,
// since it need not be installed on this machine.
const installed = "/usr/bin/uringhttpd"

var units = []string{"uringhttpd.service", "uringhttpd-keygen.service"}

// TestUnitsPassSystemdAnalyze: systemd-analyze verify reports no error and no warning, and
// systemd-analyze security an exposure of at most 2.5, where 10 is a service without confinement.
func TestUnitsPassSystemdAnalyze(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if _, statErr := os.Stat("/run/systemd/system"); statErr == nil {
			t.Fatalf("systemd runs this machine, but its systemd-analyze cannot be found: %v", err)
		}
		t.Skip("this machine has no systemd; on Debian, apt-get install systemd brings systemd-analyze")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var paths []string
	for _, name := range units {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), installed, self)), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	out, err := exec.Command(analyze, append([]string{"verify", "--man=no", "--recursive-errors=yes"}, paths...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	for _, path := range paths {
		out, err := exec.Command(analyze, "security", "--no-pager", "--offline=true", "--threshold=25", path).CombinedOutput()
		if err != nil {
			t.Errorf("systemd-analyze security: %v\n%s", err, out)
		}
	}
}

// TestUnitsHaveRequiredSettings checks the settings that the program and its users depend on.
func TestUnitsHaveRequiredSettings(t *testing.T) {
	for _, tt := range []struct{ unit, key, want, why string }{
		{units[0], "Type", "notify", "the start ends when every listener is open"},
		{units[0], "ExecStart", installed + " serve", "the command of uringhttpd(8)"},
		{units[0], "ExecReload", "", "the program does not reload yet, and systemctl reload must say so"},
		{units[0], "ExecStopPost", "-" + installed + " serve -restore", "restores the priorities that crypto.prefer changed, after a SIGKILL"},
		{units[0], "RuntimeDirectory", "uringhttpd", "/run/uringhttpd stores the changes of crypto.prefer"},
		{units[0], "RuntimeDirectoryPreserve", "yes", "the next start reads these changes"},
		{units[0], "StateDirectory", "uringhttpd", "/var/lib/uringhttpd stores the measurements of crypto.prefer: auto"},
		{units[0], "Restart", "always", "a crash, an OOM kill or a stray SIGTERM must not end the service"},
		{units[0], "RestartPreventExitStatus", "78", "a wrong configuration stays wrong; 2 is Go's status of a crash"},
		{units[0], "StartLimitIntervalSec", "0", "the board may be unreachable for a manual start"},
		{units[0], "KillMode", "mixed", "SIGTERM to a child would interrupt a self-test"},
		{units[0], "SystemCallErrorNumber", "EPERM", "a denied probe must fail, not kill the program"},
		{units[0], "AmbientCapabilities", "CAP_NET_BIND_SERVICE", "port 443"},
		{units[0], "ProcSubset", "", "hides /proc/crypto"},
		{units[0], "PrivateUsers", "", "makes CAP_NET_BIND_SERVICE ineffective"},
		{units[0], "PrivateNetwork", "", "it is a server"},
		{units[1], "ConditionPathExists", "", "an interrupted boot may have left an empty key"},
		{units[1], "ExecCondition", installed + " keygen -out /etc/uringhttpd -needed", "skips a complete pair, and a key from another source"},
		{units[1], "ExecStart", installed + " keygen -out /etc/uringhttpd", "the command of uringhttpd(8)"},
		{units[1], "ExecStopPost", "+chmod 0750 /etc/uringhttpd", "also after a failure"},
	} {
		t.Run(tt.unit+" "+tt.key, func(t *testing.T) {
			if got := strings.Join(settings(t, tt.unit)[tt.key], "; "); got != tt.want {
				t.Errorf("%s=%s, want %q: %s", tt.key, got, tt.want, tt.why)
			}
		})
	}
	service := settings(t, units[0])
	calls := strings.Fields(strings.Join(service["SystemCallFilter"], " "))
	for _, call := range []string{"@system-service", "io_uring_setup", "io_uring_enter", "io_uring_register"} {
		if !slices.Contains(calls, call) {
			t.Errorf("SystemCallFilter= %q lacks %s", calls, call)
		}
	}
	families := strings.Fields(strings.Join(service["RestrictAddressFamilies"], " "))
	for _, family := range []string{"AF_INET", "AF_INET6", "AF_UNIX", "AF_ALG", "AF_NETLINK"} {
		if !slices.Contains(families, family) {
			t.Errorf("RestrictAddressFamilies= %q lacks %s", families, family)
		}
	}
	for _, unit := range []string{"modprobe@tls.service", units[1]} {
		for _, key := range []string{"Wants", "After"} {
			if !slices.Contains(strings.Fields(strings.Join(service[key], " ")), unit) {
				t.Errorf("%s= lacks %s", key, unit)
			}
		}
	}
}

// settings returns the values of each key of a unit, in order.
func settings(t *testing.T, name string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '[' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Fatalf("%s: %q is not a setting", name, line)
		}
		found[key] = append(found[key], value)
	}
	return found
}
