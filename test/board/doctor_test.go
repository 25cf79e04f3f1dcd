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

var updateFlag = flag.Bool("board.update", false, "write what is found to the files that it is compared with")

// TestDeviceTrees: what the device tree of each i.MX board says of its SoC and engines.
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
		t.Errorf("of %d trees:\n%s\nwant:\n%s", trees, got, want)
	}
	if trees < 400 {
		t.Errorf("%d trees; there are some 500", trees)
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
		engines = []string{"none"}
	}
	return soc + ": " + strings.Join(engines, "; ")
}

// boardTime is for a board without virtio, which is slow to boot.
const boardTime = 10 * time.Minute

// TestDoctor: what doctor says of i.MX boards whose CAAM QEMU does not have.
func TestDoctor(t *testing.T) {
	for _, tt := range []struct {
		board board.Board
		soc   platform.SoC
		node  string
		rings int
	}{
		{board.IMX8MP_612, platform.SoC{Family: "i.MX8M", Name: "i.MX 8M Plus"}, "/soc@0/bus@30800000/crypto@30900000", 3},
		{board.Sabrelite_612, platform.SoC{Family: "i.MX6", Name: "i.MX 6Dual or 6Quad"}, "/soc/bus@2100000/crypto@2100000", 2},
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
			if report.Status != 0 || !report.Netlink.Usable || report.GCM[0].Hardware || !report.Ciphers[0].Verified {
				t.Errorf("got %+v", report)
			}
			b := report.Board
			if b.SoC.Family != tt.soc.Family || b.SoC.Name != tt.soc.Name || len(b.Engines) != 1 {
				t.Fatalf("got %+v", b)
			}
			caam := b.Engines[0]
			if caam.Kind != "CAAM" || caam.Node != tt.node || caam.Driver != "caam" || len(caam.JobRings) != tt.rings {
				t.Errorf("got %+v", caam)
			}
			for _, r := range caam.JobRings {
				if r.Driver != "" || r.Remedy == "" || !strings.Contains(r.Reason, "the driver caam_jr has not taken it") && !strings.Contains(r.Reason, "disables "+r.Node) {
					t.Errorf("got %+v", r)
				}
			}
		})
	}
}
