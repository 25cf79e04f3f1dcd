package platform

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"strings"
)

// kernelOption is how a kernel was configured for one of its options.
type kernelOption int

const (
	optionUnknown kernelOption = iota // the configuration is not to be seen
	optionNo
	optionModule
	optionBuiltIn
)

// readOption looks an option up in the running kernel's configuration: /proc/config.gz
// (CONFIG_IKCONFIG_PROC), or else the file in /boot that distributions leave there. The
// paths are given.
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

// findOption reads lines such as CONFIG_TLS=m; what is not there is not built.
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
		return optionUnknown // it is no configuration
	}
	return optionNo
}
