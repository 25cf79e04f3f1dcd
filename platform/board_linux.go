package platform

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"uringhttpd/platform/devicetree"
)

// ReadBoard describes the machine that this program runs on. kernel is the running kernel's
// release, as uname -r prints it. Only root can read the supplier for which a device without a
// driver waits; everything else needs no privilege. An error means that the device tree could
// not be read.
func ReadBoard(kernel string) (Board, error) {
	return readBoard("/sys", "/lib/modules/"+kernel, func(option string) kernelOption {
		return readOption("/proc/config.gz", "/boot/config-"+kernel, option)
	})
}

// readBoard is ReadBoard with the paths of sysfs and of the running kernel's modules, and a lookup
// in the kernel's configuration.
func readBoard(sys, modules string, option func(string) kernelOption) (Board, error) {
	base := filepath.Join(sys, "firmware/devicetree/base")
	tree, err := devicetree.Read(os.DirFS(base), boardProperties)
	if errors.Is(err, fs.ErrNotExist) { // a PC
		vendor, name := readLine(filepath.Join(sys, "class/dmi/id/sys_vendor")), readLine(filepath.Join(sys, "class/dmi/id/product_name"))
		return Board{Model: strings.TrimSpace(vendor + " " + name), Engines: []Engine{}}, nil
	}
	if err != nil {
		return Board{}, fmt.Errorf("platform: %w", err)
	}
	d := devices{sys: sys, modules: modules, option: option, dirs: map[string]string{}}
	d.find(base)
	b := boardOf(tree, d.bound)
	soc := filepath.Join(sys, "bus/soc/devices/soc0")
	if b.SoC.Name == "" { // the tree does not name the chip
		if chip, ok := strings.CutPrefix(readLine(filepath.Join(soc, "soc_id")), "i.MX"); ok { // as in i.MX8MM
			b.SoC = socs["fsl,imx"+strings.ToLower(chip)]
			b.Note = engineNote(b.SoC, b.Engines)
		}
	}
	b.SoC.Revision = readLine(filepath.Join(soc, "revision"))
	return b, nil
}

// devices holds the devices of the platform bus (Documentation/driver-api/driver-model).
type devices struct {
	sys, modules string
	option       func(string) kernelOption
	dirs         map[string]string // sysfs directory of a device, by its node's path
}

// find lists the devices that the kernel created from nodes of the tree at base.
func (d *devices) find(base string) {
	base, err := filepath.EvalSymlinks(base)
	if err != nil {
		return
	}
	all, err := filepath.Glob(filepath.Join(d.sys, "bus/platform/devices/*"))
	if err != nil {
		return
	}
	for _, dir := range all {
		node, err := filepath.EvalSymlinks(filepath.Join(dir, "of_node"))
		if err != nil {
			continue // not a device of the tree
		}
		if path, ok := strings.CutPrefix(node, base); ok {
			d.dirs[path] = dir
		}
	}
}

// bound returns the device of a node with its driver, or why it has none.
func (d *devices) bound(n *devicetree.Node, kind deviceKind) Device {
	dev := Device{Node: n.Path}
	dir, ok := d.dirs[n.Path]
	if !ok {
		dev.Reason = "the kernel has created no device for it"
		dev.Remedy = "load the driver of its parent node (the bus, or the CAAM); it creates this device"
		return dev
	}
	// Read the link before any attribute: a probe that hangs has created the link already, and
	// holds the lock of the attributes.
	if driver, err := os.Readlink(filepath.Join(dir, "driver")); err == nil {
		dev.Driver = filepath.Base(driver)
		return dev
	}
	if _, err := os.Stat(filepath.Join(d.sys, "bus/platform/drivers", kind.driver)); err != nil {
		dev.Reason, dev.Remedy = d.noDriver(kind)
		return dev
	}
	name := filepath.Base(dir)
	switch why, deferred := d.deferred(name); {
	case deferred && why != "":
		dev.Reason = "the probe of its driver is deferred: " + why
		dev.Remedy = "enable and load the driver of the device that it waits for"
	case deferred || readLine(filepath.Join(dir, "waiting_for_supplier")) == "1":
		dev.Reason = "the probe of its driver is deferred: it waits for a clock, power domain or other supplier"
		dev.Remedy = "as root, read /sys/kernel/debug/devices_deferred, which names the supplier, and load the driver of the supplier"
	default:
		dev.Reason = "the driver " + kind.driver + " is not bound to it"
		dev.Remedy = "search the kernel's log (dmesg) for " + name + ", and, as root, /sys/kernel/debug/devices_deferred: the probe of its driver may be deferred"
	}
	return dev
}

// noDriver explains why the kernel does not have a driver now.
func (d *devices) noDriver(kind deviceKind) (reason, remedy string) {
	load := "run modprobe " + kind.module + ", and add " + kind.module + " to a file in /etc/modules-load.d/ so that it is loaded at each boot"
	build := "build the kernel with " + kind.option + "=m or y"
	option := d.option(kind.option)
	switch where := onDisk(d.modules, kind.module); {
	case where == moduleOnDisk:
		return "its driver, the module " + kind.module + ", is not loaded", load
	case where == moduleAbsent && option == optionModule:
		return "its driver was built as a module (" + kind.option + "=m), but is not installed",
			"install the kernel's modules; with the Yocto Project, the package kernel-module-" + strings.ReplaceAll(kind.module, "_", "-")
	case where == moduleAbsent || option == optionNo:
		return "the kernel was built without its driver, " + kind.option, build
	}
	return "the kernel does not have its driver, " + kind.module + ", and the kernel's modules are not visible to this process",
		load + "; if there is no such module, " + build
}

// deferred reports whether the probe of a device is deferred, and returns the reason that the
// kernel gives (drivers/base/dd.c). Only root can read it, and debugfs must be mounted.
func (d *devices) deferred(name string) (why string, ok bool) {
	eachLine(filepath.Join(d.sys, "kernel/debug/devices_deferred"), func(line string) bool {
		device, rest, _ := strings.Cut(line, "\t")
		if ok = device == name; ok {
			why = strings.TrimSpace(rest)
		}
		return !ok
	})
	return why, ok
}

// readLine returns the first line of a file, trimmed, or "".
func readLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		return ""
	}
	return strings.TrimSpace(line)
}
