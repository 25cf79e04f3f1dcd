package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMakeInstallDoesNotBuild: make install copies the program that make has built, and fails
// without one. The installed units start the program below PREFIX.
func TestMakeInstallDoesNotBuild(t *testing.T) {
	source := t.TempDir()
	for _, name := range []string{"Makefile", "systemd", "config"} {
		path, err := filepath.Abs("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(source, name)); err != nil {
			t.Fatal(err)
		}
	}
	install := func(variables ...string) (string, error) {
		cmd := exec.Command("make", append([]string{"-C", source, "install"}, variables...)...)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} // as with sudo, without Go
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	empty := t.TempDir()
	if out, err := install("DESTDIR=" + empty); err == nil || !strings.Contains(out, "build/uringhttpd is missing. Run make first") {
		t.Errorf("without a program: %v\n%s", err, out)
	}
	if entries, err := os.ReadDir(empty); err != nil || len(entries) > 0 {
		t.Errorf("without a program: left %v, %v", entries, err)
	}
	if err := os.Mkdir(filepath.Join(source, "build"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(source, "build/uringhttpd"), []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ prefix, lib string }{
		{"/usr", "/usr/lib"}, {"/usr/local", "/usr/local/lib"}, {"/opt/firmware", "/usr/local/lib"},
	} {
		t.Run(tt.prefix, func(t *testing.T) {
			dir := t.TempDir()
			out, err := install("DESTDIR="+dir, "PREFIX="+tt.prefix)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if data, err := os.ReadFile(filepath.Join(dir, tt.prefix, "bin/uringhttpd")); string(data) != "program" {
				t.Errorf("program: %q, %v", data, err)
			}
			for _, name := range units {
				path := filepath.Join(dir, tt.lib, "systemd/system", name)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				original, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if want := strings.ReplaceAll(string(original), installed, tt.prefix+"/bin/uringhttpd"); string(data) != want {
					t.Errorf("%s is\n%s", name, data)
				}
				if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
					t.Errorf("%s: %v, %v", name, info.Mode(), err)
				}
			}
			for _, name := range []string{tt.lib + "/sysusers.d/uringhttpd.conf", tt.lib + "/tmpfiles.d/uringhttpd.conf", tt.lib + "/modules-load.d/uringhttpd.conf", "/etc/uringhttpd/uringhttpd.yaml"} {
				if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
