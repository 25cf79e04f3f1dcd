//go:build board

package board_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"uringhttpd/platform"
	"uringhttpd/platform/devicetree"
	"uringhttpd/test/board"
	"uringhttpd/test/board/debian"
)

var updateFlag = flag.Bool("board.update", false, "write the results to the golden files")

// TestDeviceTrees checks the SoC and the engines that are read from the device tree of each i.MX board.
func TestDeviceTrees(t *testing.T) {
	ctx := t.Context()
	rows := map[string]bool{}
	trees := 0
	for _, want := range []debian.Want{
		{Architecture: "arm64", Series: "6.12", Flavour: "arm64"},
		{Architecture: "armhf", Series: "6.12", Flavour: "armmp"},
	} {
		k, err := debian.FetchKernel(ctx, cacheFolder(t), want)
		if err != nil {
			t.Fatal(err)
		}
		files, err := k.DeviceTrees()
		if err != nil {
			t.Fatal(err)
		}
		trees += len(files)
		for _, name := range files {
			blob, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			tree, err := devicetree.Parse(blob)
			if err != nil {
				t.Errorf("%s: %v", filepath.Base(name), err)
				continue
			}
			rows[treeRow(platform.TreeBoard(tree))] = true
		}
	}
	var lines []string
	for r := range rows {
		lines = append(lines, r)
	}
	slices.Sort(lines)
	got := "# family: SoC: engines, of all trees imx*.dtb of Debian's Linux 6.12 for arm64 and armhf\n" + strings.Join(lines, "\n") + "\n"
	const golden = "testdata/devicetrees.txt"
	if *updateFlag {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("from %d trees:\n%s\nwant:\n%s", trees, got, want)
	}
	if trees < 400 {
		t.Errorf("%d trees, want about 500", trees)
	}
}

func treeRow(b platform.Board) string {
	soc := b.SoC.Family + ": " + b.SoC.Name
	if b.SoC.Name == "" {
		soc = "not known: " + b.Compatible[len(b.Compatible)-1]
	}
	var engines []string
	for _, e := range b.Engines {
		text := e.Kind
		if e.Reason != "" {
			text += " (disabled)"
		}
		if e.Limit != "" {
			text += " (no AES-GCM)"
		}
		if len(e.JobRings) > 0 {
			usable := 0
			for _, j := range e.JobRings {
				if j.Reason == "" {
					usable++
				}
			}
			text += fmt.Sprintf(", %d of %d job rings", usable, len(e.JobRings))
		}
		engines = append(engines, text)
	}
	if engines == nil {
		note, _, _ := strings.Cut(b.Note, "; ")
		note, _, _ = strings.Cut(note, ":")
		engines = []string{strings.TrimSuffix("none: "+note, ": ")}
	}
	return soc + ": " + strings.Join(engines, "; ")
}

// boardTime is the time limit for a board without virtio, which is slow to boot.
const boardTime = 10 * time.Minute

// TestDoctor checks the report of doctor on i.MX boards. QEMU does not emulate their CAAM.
func TestDoctor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		board board.Board
		soc   platform.SoC
		node  string
		rings int
		slow  bool // the kernel has AES-GCM in plain C, despite AES instructions
	}{
		{board.IMX8MP_612, platform.SoC{Family: "i.MX8M", Name: "i.MX 8M Plus"}, "/soc@0/bus@30800000/crypto@30900000", 3, true},
		{board.Sabrelite_612, platform.SoC{Family: "i.MX6", Name: "i.MX 6Dual or 6Quad"}, "/soc/bus@2100000/crypto@2100000", 2, false},
	} {
		t.Run(tt.board.String(), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), boardTime)
			defer cancel()
			program := filepath.Join(t.TempDir(), "uringhttpd")
			if err := tt.board.Build(ctx, board.Build{Package: *sourceFlag, Output: program}); err != nil {
				t.Fatal(err)
			}
			m, err := board.Boot(ctx, board.Spec{Board: tt.board, Program: program, Cache: cacheFolder(t), Modules: []string{"caam_jr", "crypto_user"}})
			if err != nil {
				t.Fatal(err)
			}
			defer shutDown(t, m)
			e, err := m.Run(ctx, nil, board.ProgramPath, "doctor")
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("\n%s%s", e.Stdout, e.Stderr)
			report := runDoctor(ctx, t, m, autoConfig)
			if report.Status != readyStatus(report) || tt.slow != (report.Status == 1) || tt.slow != strings.Contains(report.Verdict, "CONFIG_CRYPTO_AES_ARM64_CE_BLK") || !report.Netlink.Usable || report.GCM[0].Hardware || !report.Ciphers[0].Verified {
				t.Errorf("got %+v", report)
			}
			capture(ctx, t, m, tt.board.String())
			b := report.Board
			if b.SoC.Family != tt.soc.Family || b.SoC.Name != tt.soc.Name || len(b.Engines) != 1 {
				t.Fatalf("got %+v", b)
			}
			caam := b.Engines[0]
			if caam.Kind != "CAAM" || caam.Node != tt.node || caam.Driver != "caam" || len(caam.JobRings) != tt.rings {
				t.Errorf("got %+v", caam)
			}
			for _, r := range caam.JobRings {
				if r.Driver != "" || r.Remedy == "" || !strings.Contains(r.Reason, "the driver caam_jr is not bound to it") && !strings.Contains(r.Reason, "disables "+r.Node) {
					t.Errorf("got %+v", r)
				}
			}
		})
	}
}

// readyStatus is doctor's exit status where nothing is missing: a board whose kernel does not
// use the processor's AES instructions is degraded.
func readyStatus(r doctorReport) int {
	if r.AESInstructions && r.GCM[0].Plain() {
		return 1
	}
	return 0
}

// capture writes the board's /proc/crypto to the test data of package platform, if the flag
// asks for that. The board must have the modules of boards in the field.
func capture(ctx context.Context, t *testing.T, m *board.Machine, name string) {
	t.Helper()
	if !*updateFlag {
		return
	}
	text, err := m.ReadFile(ctx, "/proc/crypto")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("../../platform/cryptoapi/testdata", name+".crypto"), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// testDoctorWithout: doctor reports a missing part of the kernel and its effect on serve, and
// reports no part as missing that is not needed. The test removes modules from the kernel for good.
func testDoctorWithout(ctx context.Context, t *testing.T, m *board.Machine) {
	requireConfig := strings.Replace(autoConfig, "kernel: auto", "kernel: require", 1)
	want := func(t *testing.T, config string, status int, verdict ...string) doctorReport {
		t.Helper()
		r := runDoctor(ctx, t, m, config)
		if r.Status != status {
			t.Errorf("status %d, want %d: %+v", r.Status, status, r)
		}
		for _, text := range verdict {
			if !strings.Contains(r.Verdict, text) {
				t.Errorf("verdict %q, want %q in it", r.Verdict, text)
			}
		}
		return r
	}
	unload := func(t *testing.T, names ...string) {
		t.Helper()
		for _, name := range names {
			eventually(ctx, t, "unused module "+name, func() bool { return m.UnloadModule(ctx, name) == nil })
		}
	}
	t.Run("io_uring", func(t *testing.T) {
		restore, err := m.SetSysctl(ctx, "kernel.io_uring_disabled", "2")
		if err != nil {
			t.Fatal(err)
		}
		r := want(t, autoConfig, 2, "io_uring cannot be used", "kernel.io_uring_disabled")
		if r.IOURing.Usable || !r.KernelTLS.Usable {
			t.Errorf("got %+v", r)
		}
		if err := restore(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("AF_ALG", func(t *testing.T) {
		unload(t, "algif_aead", "af_alg")
		status := readyStatus(runDoctor(ctx, t, m, requireConfig))
		r := want(t, requireConfig, status, "kernel TLS is used, with gcm(aes) by ")
		if a := runDoctor(ctx, t, m, requireConfig, "-driver", r.GCM[0].Driver); a.Status != status || a.Answers.Asked || !strings.Contains(a.Answers.Reason, "not reachable over AF_ALG") {
			t.Errorf("known answers: %+v", a)
		}
		if !r.KernelTLS.Usable || !r.Ciphers[0].Verified || !r.Ciphers[1].Verified {
			t.Errorf("got %+v", r)
		}
		// NETLINK_CRYPTO is missing, too.
		if r.Netlink.Usable || !strings.Contains(r.Netlink.Remedy, "crypto_user") {
			t.Errorf("NETLINK_CRYPTO: %+v", r.Netlink)
		}
	})
	t.Run("tls", func(t *testing.T) {
		unload(t, "tls")
		dep := "/lib/modules/" + m.Hello.Kernel + "/modules.dep"
		for _, tt := range []struct {
			name, dep, reason, remedy string
		}{
			{"modules not visible", "", "the tls module is not loaded", "modprobe tls"},
			{"not built", "kernel/crypto/gcm.ko:\n", "the kernel was built without CONFIG_TLS", "CONFIG_TLS=m or y"},
			{"cannot be loaded", "kernel/net/tls/tls.ko:\n", "the tls module is installed, but the kernel failed to load it", "modprobe tls"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				if tt.dep != "" {
					if err := m.WriteFile(ctx, dep, []byte(tt.dep), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				r := want(t, autoConfig, 1, "kernel TLS is not used: "+tt.reason, tt.remedy)
				if r.KernelTLS.Usable || r.Ciphers[0].Usable || r.Ciphers[0].Quarantined {
					t.Errorf("got %+v", r)
				}
				want(t, requireConfig, 2, tt.reason, "require")
			})
		}
	})
}
