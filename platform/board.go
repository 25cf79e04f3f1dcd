package platform

import (
	"slices"
	"strings"

	"uringhttpd/platform/devicetree"
)

// Board describes the machine, from the device tree, the SoC bus and the kernel's list of
// devices. For a machine without a device tree only Model may be set.
type Board struct {
	Model      string   `json:"model,omitempty"`      // as in "NXP i.MX8MPlus EVK board"
	Compatible []string `json:"compatible,omitempty"` // of the tree's root node, the board first, the SoC last
	SoC        SoC      `json:"soc"`

	// Engines are the crypto engines in the device tree, of the kinds known here, in tree
	// order. An engine that appears only in /proc/crypto is not included.
	Engines []Engine `json:"engines"`

	// Note describes the SoC's engines where the tree has none, in one line; "" if nothing is
	// known of them.
	Note string `json:"note,omitempty"`
}

// SoC is the system on a chip.
type SoC struct {
	Family   string `json:"family,omitempty"`   // i.MX2, i.MX5, i.MX6, i.MX7, i.MX8, i.MX8M, i.MX8ULP, i.MX9; "" for any other
	Name     string `json:"name,omitempty"`     // as in "i.MX 8M Plus"; "" if unknown here
	Revision string `json:"revision,omitempty"` // as the kernel reads it from the chip (Documentation/ABI/testing/sysfs-devices-soc)
}

// An Engine is a crypto engine, hardware beside the processor.
type Engine struct {
	Kind string `json:"kind"` // CAAM, DCP, SAHARA
	Device

	// Era is the version of a CAAM, 0 if the tree does not give it.
	Era int `json:"era,omitempty"`

	// JobRings are the queues through which a CAAM receives its jobs. The CAAM driver creates
	// their devices; the job ring driver registers the algorithms.
	JobRings []Device `json:"job_rings,omitempty"`

	// Limit says why the engine cannot compute AES-GCM, with or without a driver, in one line;
	// "" if it may be able to, which the kernel's list of algorithms shows.
	Limit string `json:"limit,omitempty"`
}

// A Device is a device of the device tree and the driver bound to it.
type Device struct {
	Node   string `json:"node"`             // path in the tree
	Driver string `json:"driver,omitempty"` // bound driver; "" if there is none
	Reason string `json:"reason,omitempty"` // why no driver is bound, one line
	Remedy string `json:"remedy,omitempty"` // how to get a driver bound, one line
}

const kindCAAM = "CAAM"

// A deviceKind describes the driver of a kind of device: the nodes it matches and its names.
type deviceKind struct {
	name       string
	compatible []string // of drivers/crypto/.../*.c, MODULE_DEVICE_TABLE(of, ...)
	driver     string   // name on the platform bus
	module     string
	option     string // of the kernel's configuration
	limit      string // Engine.Limit
}

// noGCM is the limit of engines whose drivers register ecb(aes), cbc(aes), sha1 and sha256
// (drivers/crypto/mxs-dcp.c, drivers/crypto/sahara.c). The kernel cannot build a gcm(aes)
// template from them either, since it needs ctr(aes) and ghash (crypto/gcm.c).
const noGCM = "this engine cannot be used for HTTPS: it has ecb(aes), cbc(aes), sha1 and sha256, and no part of AES-GCM"

var (
	engineKinds = []deviceKind{
		{kindCAAM, []string{"fsl,sec-v4.0", "fsl,sec4.0"}, "caam", "caam", "CONFIG_CRYPTO_DEV_FSL_CAAM", ""},
		{"DCP", []string{"fsl,imx28-dcp", "fsl,imx23-dcp"}, "mxs-dcp", "mxs_dcp", "CONFIG_CRYPTO_DEV_MXS_DCP", noGCM},
		{"SAHARA", []string{"fsl,imx53-sahara", "fsl,imx27-sahara"}, "sahara", "sahara", "CONFIG_CRYPTO_DEV_SAHARA", noGCM},
	}
	jobRing = deviceKind{"job ring", []string{"fsl,sec-v4.0-job-ring", "fsl,sec4.0-job-ring"}, "caam_jr", "caam_jr", "CONFIG_CRYPTO_DEV_FSL_CAAM_JR", ""}
)

// socs maps the compatible string of an NXP chip to its family and name.
var socs = map[string]SoC{
	"fsl,imx23":   {Family: "i.MX2", Name: "i.MX 23"},
	"fsl,imx28":   {Family: "i.MX2", Name: "i.MX 28"},
	"fsl,imx50":   {Family: "i.MX5", Name: "i.MX 50"},
	"fsl,imx51":   {Family: "i.MX5", Name: "i.MX 51"},
	"fsl,imx53":   {Family: "i.MX5", Name: "i.MX 53"},
	"fsl,imx6dl":  {Family: "i.MX6", Name: "i.MX 6Solo or 6DualLite"},
	"fsl,imx6q":   {Family: "i.MX6", Name: "i.MX 6Dual or 6Quad"},
	"fsl,imx6qp":  {Family: "i.MX6", Name: "i.MX 6DualPlus or 6QuadPlus"},
	"fsl,imx6sl":  {Family: "i.MX6", Name: "i.MX 6SoloLite"},
	"fsl,imx6sll": {Family: "i.MX6", Name: "i.MX 6SLL"},
	"fsl,imx6sx":  {Family: "i.MX6", Name: "i.MX 6SoloX"},
	"fsl,imx6ul":  {Family: "i.MX6", Name: "i.MX 6UltraLite"},
	"fsl,imx6ull": {Family: "i.MX6", Name: "i.MX 6ULL"},
	"fsl,imx6ulz": {Family: "i.MX6", Name: "i.MX 6ULZ"},
	"fsl,imx7s":   {Family: "i.MX7", Name: "i.MX 7Solo"},
	"fsl,imx7d":   {Family: "i.MX7", Name: "i.MX 7Dual"},
	"fsl,imx7ulp": {Family: "i.MX7", Name: "i.MX 7ULP"},
	"fsl,imx8qm":  {Family: "i.MX8", Name: "i.MX 8QuadMax"},
	"fsl,imx8qp":  {Family: "i.MX8", Name: "i.MX 8QuadPlus"},
	"fsl,imx8qxp": {Family: "i.MX8", Name: "i.MX 8QuadXPlus"},
	"fsl,imx8dxp": {Family: "i.MX8", Name: "i.MX 8DualXPlus"},
	"fsl,imx8dx":  {Family: "i.MX8", Name: "i.MX 8DualX"},
	"fsl,imx8dxl": {Family: "i.MX8", Name: "i.MX 8XLite"},
	"fsl,imx8mq":  {Family: "i.MX8M", Name: "i.MX 8M"},
	"fsl,imx8mm":  {Family: "i.MX8M", Name: "i.MX 8M Mini"},
	"fsl,imx8mn":  {Family: "i.MX8M", Name: "i.MX 8M Nano"},
	"fsl,imx8mp":  {Family: "i.MX8M", Name: "i.MX 8M Plus"},
	"fsl,imx8ulp": {Family: "i.MX8ULP", Name: "i.MX 8ULP"},
	"fsl,imx91":   {Family: "i.MX9", Name: "i.MX 91"},
	"fsl,imx93":   {Family: "i.MX9", Name: "i.MX 93"},
	"fsl,imx94":   {Family: "i.MX9", Name: "i.MX 94"},
	"fsl,imx943":  {Family: "i.MX9", Name: "i.MX 943"},
	"fsl,imx95":   {Family: "i.MX9", Name: "i.MX 95"},
	"fsl,imx952":  {Family: "i.MX9", Name: "i.MX 952"},
}

// socBases maps a chip to the chip of which it is a variant. A variant's tree lists both names,
// and the base may come first: fsl,imx6ull stands before fsl,imx6ulz.
var socBases = map[string]string{
	"fsl,imx6ulz": "fsl,imx6ull",
	"fsl,imx6ull": "fsl,imx6ul",
	"fsl,imx6qp":  "fsl,imx6q",
	"fsl,imx7d":   "fsl,imx7s",
	"fsl,imx8qp":  "fsl,imx8qm",
	"fsl,imx8dx":  "fsl,imx8dxp",
	"fsl,imx8dxp": "fsl,imx8qxp",
	"fsl,imx91":   "fsl,imx93",
	"fsl,imx943":  "fsl,imx94",
	"fsl,imx952":  "fsl,imx95",
}

// variantOf reports whether a chip is base or a variant of it, by their compatible strings.
func variantOf(name, base string) bool {
	for name != "" && name != base {
		name = socBases[name]
	}
	return name == base
}

// socOf finds the chip in the root node's compatible list: the most specific chip listed, or else
// the chip with which a board's own name begins, as in gw,imx8mm-gw73xx-0x.
func socOf(compatible []string) SoC {
	best := ""
	for _, name := range compatible {
		if _, ok := socs[name]; ok && (best == "" || variantOf(name, best)) {
			best = name
		}
	}
	for _, name := range compatible {
		_, model, _ := strings.Cut(name, ",")
		chip, _, _ := strings.Cut(model, "-")
		if _, ok := socs["fsl,"+chip]; ok && best == "" {
			best = "fsl," + chip
		}
	}
	return socs[best]
}

// caamFamilies are the families whose chips have a CAAM, except some of i.MX6, which have a DCP.
var caamFamilies = []string{"i.MX6", "i.MX7", "i.MX8", "i.MX8M", "i.MX8ULP"}

// engineNote returns Board.Note for a machine whose tree has the given engines.
func engineNote(soc SoC, engines []Engine) string {
	dcp := slices.Contains([]string{"i.MX 6SoloLite", "i.MX 6SLL", "i.MX 6ULL", "i.MX 6ULZ"}, soc.Name)
	switch {
	case len(engines) > 0:
		return ""
	case soc.Family == "i.MX9":
		return "this SoC has no engine that the kernel's crypto API can use; that includes its EdgeLock Enclave (ELE). Its cores have AES instructions"
	case soc.Family == "i.MX8":
		return "this SoC has a CAAM, and this device tree has no node for it; use a tree with imx8-ss-security.dtsi, as NXP's kernel and newer mainline kernels have it. The cores have AES instructions"
	case dcp || soc.Family == "i.MX2":
		return "this SoC has a DCP, and this device tree has no node for it; " + noGCM
	case slices.Contains(caamFamilies, soc.Family):
		return "this SoC has a CAAM, and this device tree has no node for it; use the device tree of the running kernel"
	}
	return ""
}

// boardProperties reports whether boardOf uses a property.
func boardProperties(name string) bool {
	switch name {
	case "model", "compatible", "status", "fsl,sec-era":
		return true
	}
	return false
}

// TreeBoard describes a board by its device tree alone. The state of the running kernel is
// unknown: no Device has a Driver, and only devices that the tree disables have a Reason.
func TreeBoard(tree *devicetree.Node) Board {
	return boardOf(tree, func(n *devicetree.Node, _ deviceKind) Device { return Device{Node: n.Path} })
}

// boardOf describes a machine by its device tree. bound returns the Device of a node that the
// tree does not disable, with its driver or why it has none.
func boardOf(tree *devicetree.Node, bound func(*devicetree.Node, deviceKind) Device) Board {
	b := Board{Model: tree.String("model"), Compatible: tree.Strings("compatible"), Engines: []Engine{}}
	b.SoC = socOf(b.Compatible)
	var look func(n *devicetree.Node, disabled string)
	look = func(n *devicetree.Node, disabled string) {
		if disabled == "" && !n.Enabled() {
			disabled = n.Path
		}
		device := func(kind deviceKind) Device {
			if disabled == "" {
				return bound(n, kind)
			}
			return Device{
				Node:   n.Path,
				Reason: "the device tree disables " + disabled,
				Remedy: "set status = \"okay\" there, unless the board's firmware keeps the engine for itself",
			}
		}
		for _, kind := range engineKinds {
			if n.Compatible(kind.compatible...) {
				e := Engine{Kind: kind.name, Device: device(kind), Limit: kind.limit}
				if era, ok := n.Uint32("fsl,sec-era"); ok {
					e.Era = int(era)
				}
				b.Engines = append(b.Engines, e)
			}
		}
		if n.Compatible(jobRing.compatible...) {
			for i := range b.Engines { // add it to its parent CAAM
				if e := &b.Engines[i]; e.Kind == kindCAAM && strings.HasPrefix(n.Path, e.Node+"/") {
					e.JobRings = append(e.JobRings, device(jobRing))
				}
			}
		}
		for _, c := range n.Children {
			look(c, disabled)
		}
	}
	look(tree, "")
	b.Note = engineNote(b.SoC, b.Engines)
	return b
}
