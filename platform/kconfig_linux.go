package platform

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"strings"
)

// kernelOption is the value of an option of the kernel's configuration.
type kernelOption int

const (
	optionUnknown kernelOption = iota // the configuration cannot be read
	optionNo
	optionModule
	optionBuiltIn
)

// readOption looks up an option in the running kernel's configuration. compressed is the path of
// /proc/config.gz (CONFIG_IKCONFIG_PROC); plain is the file that distributions install in /boot,
// used if compressed cannot be read.
func readOption(compressed, plain, option string) kernelOption {
	if f, err := os.Open(compressed); err == nil {
		defer f.Close()
		if z, err := gzip.NewReader(f); err == nil {
			return findOption(z, option)
		}
	}
	f, err := os.Open(plain)
	if err != nil {
		return optionUnknown
	}
	defer f.Close()
	return findOption(f, option)
}

// findOption reads lines such as CONFIG_TLS=m. An option without a line is not built.
func findOption(r io.Reader, option string) kernelOption {
	scanner := bufio.NewScanner(io.LimitReader(r, maxFactBytes))
	options := 0
	for scanner.Scan() {
		name, value, ok := strings.Cut(scanner.Text(), "=")
		if !ok || !strings.HasPrefix(name, "CONFIG_") {
			continue
		}
		options++
		switch {
		case name != option:
		case value == "y":
			return optionBuiltIn
		case value == "m":
			return optionModule
		}
	}
	if scanner.Err() != nil || options == 0 {
		return optionUnknown // not a kernel configuration
	}
	return optionNo
}
