package platform

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A machine is a directory like sysfs, and a directory of modules.
type machine struct {
	t            *testing.T
	sys, modules string
	option       kernelOption // of all
}

func newMachine(t *testing.T) *machine {
	dir := t.TempDir()
	return &machine{t: t, sys: filepath.Join(dir, "sys"), modules: filepath.Join(dir, "modules")}
}

func (m *machine) dir(path string) string {
	m.t.Helper()
	name := filepath.Join(m.sys, path)
	if err := os.MkdirAll(name, 0o755); err != nil {
		m.t.Fatal(err)
	}
	return name
}

func (m *machine) file(path, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir(filepath.Dir(path)), filepath.Base(path)), []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// node creates a node of the device tree. properties are names and values in turn.
func (m *machine) node(path string, properties ...string) {
	path = filepath.Join("firmware/devicetree/base", path)
	m.dir(path)
	for i := 0; i < len(properties); i += 2 {
		m.file(filepath.Join(path, properties[i]), properties[i+1])
	}
}

// device creates a device of the platform bus for a node; driver is "" for none.
func (m *machine) device(name, node, driver string) {
	m.t.Helper()
	dir := m.dir("devices/platform/" + name)
	link := func(target, name string) {
		if err := os.Symlink(target, name); err != nil {
			m.t.Fatal(err)
		}
	}
	link(filepath.Join(m.sys, "firmware/devicetree/base", node), filepath.Join(dir, "of_node"))
	link(dir, filepath.Join(m.dir("bus/platform/devices"), name))
	if driver != "" {
		link(m.dir("bus/platform/drivers/"+driver), filepath.Join(dir, "driver"))
	}
}

func (m *machine) module(path string) {
	if err := os.MkdirAll(m.modules, 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.modules, "modules.dep"), []byte("kernel/net/tls/tls.ko.xz:\n"+path+": kernel/lib/x.ko\n"), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

const caamNode = "/soc@0/crypto@30900000"

// caam creates the parts of an i.MX 8M Plus that these tests need.
func (m *machine) caam() {
	m.node("", "model", "NXP i.MX8MPlus EVK board\x00", "compatible", "fsl,imx8mp-evk\x00fsl,imx8mp\x00")
	m.node("soc@0", "compatible", "fsl,imx8mp-soc\x00simple-bus\x00")
	m.node(caamNode, "compatible", "fsl,sec-v4.0\x00", "fsl,sec-era", "\x00\x00\x00\x09")
	m.node(caamNode+"/jr@1000", "compatible", "fsl,sec-v4.0-job-ring\x00", "status", "disabled\x00")
	m.node(caamNode+"/jr@2000", "compatible", "fsl,sec-v4.0-job-ring\x00")
	m.file("bus/soc/devices/soc0/revision", "1.1\n")
	m.file("bus/soc/devices/soc0/soc_id", "i.MX8MP\n")
}

func (m *machine) board() Board {
	m.t.Helper()
	b, err := readBoard(m.sys, m.modules, func(string) kernelOption { return m.option })
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

// TestReadBoardCAAM: the board, its engine and its job rings are read, with their drivers.
func TestReadBoardCAAM(t *testing.T) {
	m := newMachine(t)
	m.caam()
	m.device("30900000.crypto", caamNode, "caam")
	m.device("30902000.jr", caamNode+"/jr@2000", "caam_jr")
	want := Board{
		Model:      "NXP i.MX8MPlus EVK board",
		Compatible: []string{"fsl,imx8mp-evk", "fsl,imx8mp"},
		SoC:        SoC{Family: "i.MX8M", Name: "i.MX 8M Plus", Revision: "1.1"},
		Engines: []Engine{{
			Kind: "CAAM", Era: 9,
			Device: Device{Node: caamNode, Driver: "caam"},
			JobRings: []Device{
				{
					Node: caamNode + "/jr@1000", Reason: "the device tree disables " + caamNode + "/jr@1000",
					Remedy: "set status = \"okay\" there, unless the board's firmware keeps the engine for itself",
				},
				{Node: caamNode + "/jr@2000", Driver: "caam_jr"},
			},
		}},
	}
	if got := m.board(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestMissingDriverHasRemedy: each cause of an engine without a driver has its reason and remedy.
func TestMissingDriverHasRemedy(t *testing.T) {
	const name = "30900000.crypto"
	device := func(m *machine) { m.device(name, caamNode, "") }
	for _, tt := range []struct {
		name           string
		lay            func(*machine)
		reason, remedy string // parts of them
	}{
		{"no device", func(*machine) {}, "created no device", "the bus"},
		{"a disabled bus", func(m *machine) { m.file("firmware/devicetree/base/soc@0/status", "disabled\x00") }, "disables /soc@0", `"okay"`},
		{"a module that is not loaded", func(m *machine) { device(m); m.module("kernel/drivers/crypto/caam/caam.ko.xz") }, "module caam, is not loaded", "modprobe caam"},
		{"no module", func(m *machine) { device(m); m.module("kernel/drivers/crypto/caam/caam_jr.ko") }, "without its driver", "CONFIG_CRYPTO_DEV_FSL_CAAM=m"},
		{"a module that was not installed", func(m *machine) {
			device(m)
			m.module("kernel/drivers/crypto/caam/caam_jr.ko")
			m.option = optionModule
		}, "CONFIG_CRYPTO_DEV_FSL_CAAM=m), but is not installed", "kernel-module-caam"},
		{"no modules visible, and none built", func(m *machine) { device(m); m.option = optionNo }, "without its driver", "CONFIG_CRYPTO_DEV_FSL_CAAM=m"},
		{"no modules visible", device, "not visible", "modprobe caam"},
		{"deferred", func(m *machine) {
			device(m)
			m.dir("bus/platform/drivers/caam")
			m.file("devices/platform/"+name+"/waiting_for_supplier", "1\n")
		}, "is deferred: it waits for", "devices_deferred"},
		{"deferred, for root", func(m *machine) {
			device(m)
			m.dir("bus/platform/drivers/caam")
			m.file("kernel/debug/devices_deferred", "30890000.serial\tserial: x\n"+name+"\tplatform: supplier 30380000.clock-controller not ready\n")
		}, "supplier 30380000.clock-controller not ready", "load"},
		{"failed", func(m *machine) {
			device(m)
			m.dir("bus/platform/drivers/caam")
			m.file("devices/platform/"+name+"/waiting_for_supplier", "0\n")
			m.file("kernel/debug/devices_deferred", "30890000.serial\n")
		}, "the driver caam is not bound to it", "(dmesg) for " + name},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.caam()
			tt.lay(m)
			d := m.board().Engines[0].Device
			if d.Driver != "" || !strings.Contains(d.Reason, tt.reason) || !strings.Contains(d.Remedy, tt.remedy) {
				t.Errorf("%+v; want reason %q, remedy %q", d, tt.reason, tt.remedy)
			}
		})
	}
}

// TestReadBoardWithoutCAAM: a PC, a board whose tree does not name the SoC, and this machine.
func TestReadBoardWithoutCAAM(t *testing.T) {
	m := newMachine(t)
	m.file("class/dmi/id/sys_vendor", "QEMU\n")
	m.file("class/dmi/id/product_name", "Standard PC\n")
	if got, want := m.board(), (Board{Model: "QEMU Standard PC", Engines: []Engine{}}); !reflect.DeepEqual(got, want) {
		t.Errorf("a PC: %+v, want %+v", got, want)
	}
	m = newMachine(t)
	m.node("", "compatible", "gw,imx8mm-gw73xx-0x\x00")
	m.file("bus/soc/devices/soc0/soc_id", "i.MX8MM\n")
	if got := m.board(); got.SoC.Name != "i.MX 8M Mini" {
		t.Errorf("a tree that does not name the SoC: %+v", got)
	}
	if _, err := ReadBoard("0"); err != nil {
		t.Errorf("this machine: %v", err)
	}
}

// TestMostSpecificSoC: a chip has the most specific name in its tree.
func TestMostSpecificSoC(t *testing.T) {
	for _, tt := range []struct{ compatible, want string }{
		{"fsl,imx6ulz-14x14-evk fsl,imx6ull fsl,imx6ulz", "i.MX 6ULZ"},
		{"inversepath,imx6ulz-usbarmory-mkII fsl,imx6ulz fsl,imx6ull", "i.MX 6ULZ"},
		{"fsl,imx6ull-14x14-evk fsl,imx6ull", "i.MX 6ULL"},
		{"board fsl,imx6ull fsl,imx6ul", "i.MX 6ULL"},
		{"board fsl,imx6ul fsl,imx6ull fsl,imx6ulz", "i.MX 6ULZ"},
		{"board fsl,imx6q fsl,imx6qp", "i.MX 6DualPlus or 6QuadPlus"},
		{"board fsl,imx6qp fsl,imx6q", "i.MX 6DualPlus or 6QuadPlus"},
		{"board fsl,imx8qxp fsl,imx8dx", "i.MX 8DualX"},
		{"board fsl,imx8mp", "i.MX 8M Plus"},
		{"gw,imx8mm-gw73xx-0x", "i.MX 8M Mini"},
		{"gw,imx8mm-gw73xx-0x fsl,imx8mp", "i.MX 8M Plus"},
		{"fsl,imx28-evk fsl,imx28", "i.MX 28"},
		{"raspberrypi,4-model-b brcm,bcm2711", ""},
		{"", ""},
	} {
		if got := socOf(strings.Fields(tt.compatible)).Name; got != tt.want {
			t.Errorf("%s: %q, want %q", tt.compatible, got, tt.want)
		}
	}
}

// TestEngineNote: a board without an engine in its tree has a note on its SoC, and an engine that
// cannot compute AES-GCM has its limit.
func TestEngineNote(t *testing.T) {
	for _, tt := range []struct{ compatible, engine, note, limit string }{
		{"fsl,imx8qxp", "", "has a CAAM, and this device tree has no node for it; use a tree with imx8-ss-security.dtsi", ""},
		{"fsl,imx8qm", "", "imx8-ss-security.dtsi", ""},
		{"fsl,imx8qp", "", "imx8-ss-security.dtsi", ""},
		{"fsl,imx8dxp", "", "imx8-ss-security.dtsi", ""},
		{"fsl,imx8dx", "", "imx8-ss-security.dtsi", ""},
		{"fsl,imx8dxl", "", "imx8-ss-security.dtsi", ""},
		{"fsl,imx8qxp", "fsl,sec-v4.0", "", ""},
		{"fsl,imx8ulp", "", "has a CAAM, and this device tree has no node for it", ""},
		{"fsl,imx8ulp", "fsl,sec-v4.0", "", ""},
		{"fsl,imx91", "", "no engine that the kernel's crypto API can use", ""},
		{"fsl,imx93", "", "no engine that the kernel's crypto API can use", ""},
		{"fsl,imx94", "", "no engine", ""},
		{"fsl,imx943", "", "no engine", ""},
		{"fsl,imx95", "", "cores have AES instructions", ""},
		{"fsl,imx952", "", "no engine", ""},
		{"fsl,imx6q", "", "has a CAAM", ""},
		{"fsl,imx6ull", "", "has a DCP", ""},
		{"fsl,imx6ull", "fsl,imx28-dcp", "", "no part of AES-GCM"},
		{"fsl,imx53", "fsl,imx53-sahara", "", "no part of AES-GCM"},
		{"brcm,bcm2711", "", "", ""},
	} {
		m := newMachine(t)
		m.node("", "compatible", tt.compatible+"\x00")
		if tt.engine != "" {
			m.node("crypto@1", "compatible", tt.engine+"\x00")
		}
		b := m.board()
		if !strings.Contains(b.Note, tt.note) || (b.Note == "") != (tt.note == "") || strings.Contains(b.Note, "\n") {
			t.Errorf("%s with %q: note %q, want %q", tt.compatible, tt.engine, b.Note, tt.note)
		}
		if tt.engine != "" && (!strings.Contains(b.Engines[0].Limit, tt.limit) || (b.Engines[0].Limit == "") != (tt.limit == "")) {
			t.Errorf("%s: limit %q, want %q", tt.compatible, b.Engines[0].Limit, tt.limit)
		}
	}
	m := newMachine(t)
	m.node("", "compatible", "some,board\x00")
	m.file("bus/soc/devices/soc0/soc_id", "i.MX93\n")
	if b := m.board(); b.SoC.Name != "i.MX 93" || !strings.Contains(b.Note, "no engine") {
		t.Errorf("a tree that does not name the SoC: %+v", b)
	}
}
