package debian

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// keyring is the path of Debian's keys in the package debian-archive-keyring.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// A mirror is a copy of Debian's archive that the machine is configured to use.
type mirror struct {
	uri      string
	signedBy string // a keyring's path, or keys in the notation of deb822
}

// findMirror reads the sources below dir (/etc/apt) and returns the first that has the main
// component of a Debian release, without its security updates: these are in another
// archive.
func findMirror(dir string) (mirror, error) {
	lists, err := filepath.Glob(filepath.Join(dir, "sources.list.d", "*.list"))
	if err != nil {
		return mirror{}, err
	}
	stanzas, err := filepath.Glob(filepath.Join(dir, "sources.list.d", "*.sources"))
	if err != nil {
		return mirror{}, err
	}
	var all []source
	for _, name := range slices.Concat([]string{filepath.Join(dir, "sources.list")}, lists, stanzas) {
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return mirror{}, err
		}
		if strings.HasSuffix(name, ".sources") {
			all = append(all, parseStanzas(string(b))...)
		} else {
			all = append(all, parseLines(string(b))...)
		}
	}
	for _, s := range all {
		if s.debian() {
			return mirror{uri: s.uris[0], signedBy: s.signedBy}, nil
		}
	}
	return mirror{}, fmt.Errorf("debian: no source below %s carries a Debian release; add one, such as a line \"deb URI bookworm main\" with the address of a mirror", dir)
}

// A source is an entry of sources.list(5), in either notation.
type source struct {
	types, uris, suites, components []string
	signedBy                        string
}

// releases are the suites of an archive that contains kernels.
var releases = []string{"bookworm", "trixie", "oldstable", "stable", "testing", "sid", "unstable"}

func (s source) debian() bool {
	if !slices.Contains(s.types, "deb") || !slices.Contains(s.components, "main") || len(s.uris) == 0 {
		return false
	}
	if strings.HasPrefix(s.uris[0], "cdrom:") || strings.Contains(s.uris[0], "debian-security") {
		return false
	}
	return slices.ContainsFunc(s.suites, func(suite string) bool {
		release := strings.TrimSuffix(strings.TrimSuffix(suite, "-updates"), "-backports")
		return slices.Contains(releases, release)
	})
}

// parseLines reads the one-line notation.
func parseLines(text string) []source {
	var all []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		kind, rest, _ := strings.Cut(line, " ")
		s := source{types: []string{kind}}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			options, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				continue
			}
			rest = after
			for _, option := range strings.Fields(options) {
				if k, v, _ := strings.Cut(option, "="); k == "signed-by" {
					s.signedBy = v
				}
			}
		}
		if f := strings.Fields(rest); len(f) >= 3 {
			s.uris, s.suites, s.components = f[:1], f[1:2], f[2:]
			all = append(all, s)
		}
	}
	return all
}

// parseStanzas reads the notation of deb822(5).
func parseStanzas(text string) []source {
	var all []source
	fields := map[string]string{}
	last := ""
	flush := func() {
		s := source{
			types:      strings.Fields(fields["types"]),
			uris:       strings.Fields(fields["uris"]),
			suites:     strings.Fields(fields["suites"]),
			components: strings.Fields(fields["components"]),
			signedBy:   strings.TrimRight(fields["signed-by"], "\n"),
		}
		if !slices.Contains([]string{"no", "false", "without", "off", "disable"}, strings.ToLower(fields["enabled"])) {
			all = append(all, s)
		}
		clear(fields)
		last = ""
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			fields[last] += "\n" + line
		default:
			k, v, _ := strings.Cut(line, ":")
			last = strings.ToLower(k)
			fields[last] = strings.TrimSpace(v)
		}
	}
	flush()
	return all
}

// stanza returns a source for one suite of the mirror, in the notation of deb822.
func (m mirror) stanza(suite string) (string, error) {
	signedBy := m.signedBy
	if signedBy == "" {
		if _, err := os.Stat(keyring); err != nil {
			return "", fmt.Errorf("debian: %w; install debian-archive-keyring, packages are not used unverified", err)
		}
		signedBy = keyring
	}
	return fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n", m.uri, suite, signedBy), nil
}
