package doctor

import (
	"strings"
	"testing"
	"uringhttpd/platform"
)

// TestPrintBoard: the lines on the board and its engines.
func TestPrintBoard(t *testing.T) {
	const node = "/soc@0/crypto@1"
	ring := func(driver, reason string) platform.Device {
		return platform.Device{Node: node + "/jr@1000", Driver: driver, Reason: reason, Remedy: "do that"}
	}
	for _, tt := range []struct {
		board platform.Board
		want  string
	}{
		{platform.Board{}, "board: not known: there is no device tree\n"},
		{platform.Board{Model: "QEMU PC"}, "board: QEMU PC\n"},
		{platform.Board{
			Model: "EVK", SoC: platform.SoC{Name: "i.MX 8M Plus", Revision: "1.1"},
			Engines: []platform.Engine{{
				Kind: "CAAM", Era: 9, Device: platform.Device{Node: node, Driver: "caam"},
				JobRings: []platform.Device{ring("", "the firmware has it"), ring("caam_jr", "")},
			}},
		}, "board: EVK, i.MX 8M Plus, revision 1.1\n" +
			"CAAM: /soc@0/crypto@1: era 9, driver caam\n" +
			"CAAM: job ring jr@1000: not in use: the firmware has it\n" +
			"CAAM: job ring jr@1000: driver caam_jr\n"},
		{platform.Board{
			SoC: platform.SoC{Name: "i.MX 6ULL"},
			Engines: []platform.Engine{{
				Kind: "CAAM", Device: platform.Device{Node: node, Reason: "no driver", Remedy: "do this"},
				JobRings: []platform.Device{ring("", "no device")},
			}},
		}, "board: i.MX 6ULL\nCAAM: /soc@0/crypto@1: not in use: no driver; do this\n"},
		{platform.Board{
			SoC:     platform.SoC{Name: "i.MX 6ULL"},
			Engines: []platform.Engine{{Kind: "DCP", Device: platform.Device{Node: node, Driver: "mxs-dcp"}, Limit: "it cannot"}},
		}, "board: i.MX 6ULL\nDCP: /soc@0/crypto@1: driver mxs-dcp\nDCP: it cannot\n"},
		{platform.Board{SoC: platform.SoC{Name: "i.MX 93"}, Note: "it has none"}, "board: i.MX 93\nengine: it has none\n"},
	} {
		var out strings.Builder
		printBoard(&out, tt.board)
		if out.String() != tt.want {
			t.Errorf("got  %q\nwant %q", out.String(), tt.want)
		}
	}
}
