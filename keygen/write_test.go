package keygen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestRenameNeverReplacesAFile: a file that appears after the check is neither overwritten nor
// removed.
func TestRenameNeverReplacesAFile(t *testing.T) {
	for _, name := range []string{"key.pem", "cert.pem"} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		d := &directory{path: dir, before: func(step, to string, _ []byte) {
			if step == "rename" && to == path {
				if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
					t.Error(err)
				}
			}
		}}
		if _, err := create(d, nil, testTime); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: error %v", name, err)
		}
		if got := contents(t, dir); len(got) != 1 || got[name] != "mine" {
			t.Errorf("%s: left %v", name, got)
		}
	}
	// A second run at the same time fails, and does not change the files of the first run.
	dir := t.TempDir()
	d := &directory{path: dir, before: func(step, to string, _ []byte) {
		if step != "rename" || filepath.Base(to) != "key.pem" {
			return
		}
		if _, err := Create(dir, nil, testTime); err == nil || !strings.Contains(err.Error(), "another keygen run is writing") {
			t.Errorf("second run: %v", err)
		}
	}}
	r, err := create(d, nil, testTime)
	if err != nil {
		t.Fatal(err)
	}
	read(t, r)
}

// TestCreateMakesOnlyTheLastDirectory: Create fails if the parent of the directory does not exist,
// or if the path is a file, and makes nothing.
func TestCreateMakesOnlyTheLastDirectory(t *testing.T) {
	top := t.TempDir()
	if _, err := Create("", nil, testTime); err == nil || !strings.Contains(err.Error(), "name the directory for") {
		t.Errorf("no directory: %v", err)
	}
	_, err := Create(filepath.Join(top, "a", "b"), nil, testTime)
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(err.Error(), "; create the directory "+filepath.Join(top, "a")+" first") {
		t.Errorf("no parent: %v", err)
	}
	if err := os.WriteFile(filepath.Join(top, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Create(filepath.Join(top, "file"), nil, testTime)
	if !errors.Is(err, syscall.ENOTDIR) || !strings.HasSuffix(err.Error(), "; name a directory") {
		t.Errorf("a file: %v", err)
	}
	if got := list(t, top); len(got) != 1 {
		t.Errorf("left %v", got)
	}
}

// TestFailedWriteLeavesNoFile: if a write fails half-way, as on a full disk, Create removes the
// files and the directory that it has made. The limit of the file size applies to a child process,
// since it would also apply to the log of this test.
func TestFailedWriteLeavesNoFile(t *testing.T) {
	if dir := os.Getenv("KEYGEN_CHILD"); dir != "" {
		for _, size := range []uint64{100, 300} { // in the middle of the key, and of the certificate
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: 1 << 20}); err != nil {
				t.Fatal(err)
			}
			if _, err := Create(dir, nil, testTime); !errors.Is(err, syscall.EFBIG) {
				t.Errorf("%d bytes: error %v", size, err)
			}
		}
		return
	}
	top := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestFailedWriteLeavesNoFile$")
	cmd.Env = append(os.Environ(), "KEYGEN_CHILD="+filepath.Join(top, "new"))
	var out strings.Builder // a pipe, to which the limit does not apply
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if got := list(t, top); len(got) > 0 {
		t.Errorf("left %v", got)
	}
}

// TestPowerCutAtAnyStepIsRepaired simulates a power failure before each step of a run, from each
// initial state, and within each write: after each byte if the directory was empty, else after
// every 61st byte. The next run must complete the pair.
func TestPowerCutAtAnyStepIsRepaired(t *testing.T) {
	own := pair(t)
	for _, begin := range []struct{ name, key, certificate string }{
		{"nothing", none, none},
		{"torn key", own.key[:50], none},
		{"torn key with a certificate", own.key[:50], own.certificate},
		{"both torn", own.key[:50], own.certificate[:50]},
		{"key only", own.key, none},
		{"torn certificate", own.key, own.certificate[:50]},
	} {
		t.Run(begin.name, func(t *testing.T) {
			top := memoryDir(t)
			n := 0
			// cut interrupts a run at a step, after size bytes if the step is a write, and checks
			// the repair. It returns the number of bytes of that write, or -1 if the run has
			// fewer steps.
			cut := func(step, size int) (all int) {
				n++
				dir := filepath.Join(top, fmt.Sprint(n))
				if begin.key != none || begin.certificate != none {
					put(t, dir, begin.key, begin.certificate)
				}
				all = -1
				at := 0
				d := &directory{path: dir, before: func(name, path string, content []byte) {
					if at++; at <= step {
						return
					}
					if all = 0; name == "write" {
						all = len(content)
						if err := os.WriteFile(path, content[:size], 0o600); err != nil {
							t.Error(err)
						}
					}
					panic(errPower)
				}}
				func() {
					defer func() {
						if r := recover(); r != nil && r != errPower {
							panic(r)
						}
						d.close(nil)
					}()
					create(d, []string{"board"}, testTime)
				}()
				checkRepair(t, fmt.Sprintf("cut at step %d, byte %d", step, size), dir)
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				return all
			}
			steps := 0
			for ; ; steps++ {
				all := cut(steps, 0)
				every := 1
				if begin.key != none {
					every = 61
				}
				for size := 1; size <= all; size += every {
					cut(steps, size)
				}
				if all < 0 {
					break
				}
			}
			if steps < 7 {
				t.Errorf("only %d steps", steps)
			}
		})
	}
}

var errPower = errors.New("power failure")
