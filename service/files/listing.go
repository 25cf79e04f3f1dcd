package files

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	// maxListing is the largest size of a listing's body, in bytes.
	maxListing = 60 << 10

	// maxEntries is the largest number of names that a listing is made from: more do not fit.
	maxEntries = 1024

	// maxNames is the largest number of names that are read from a directory. A listing made
	// from fewer than all names is truncated anyway.
	maxNames = 100_000

	batch = 256 // names read at a time

	// headerTruncated is a response header field, set to true for a truncated listing.
	headerTruncated = "Listing-Truncated"
)

// listed is an entry of a listing, with its JSON form.
type listed struct {
	Name     string `json:"name"`
	Size     int64  `json:"size"`     // bytes; 0 for a directory
	Modified string `json:"modified"` // RFC 3339, UTC
	Type     string `json:"type"`     // file or directory
	modified time.Time
}

func (l listed) isDirectory() bool { return l.Type == "directory" }

// list answers with the listing of the directory dir, at the path name below the root.
func (h *handler) list(w http.ResponseWriter, r *http.Request, name string, dir *os.File) {
	names, truncated, err := readNames(dir)
	if err != nil {
		h.failWith(w, r, err)
		return
	}
	entries := h.examine(name, dir, names)
	header := w.Header()
	header.Set("Vary", "Accept")
	var body string
	if prefersJSON(r.Header.Values("Accept")) {
		header.Set("Content-Type", "application/json")
		var cut bool
		body, cut = listJSON(entries)
		truncated = truncated || cut
	} else {
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		body, truncated = listHTML(name, entries, truncated)
	}
	if truncated {
		header.Set(headerTruncated, "true")
	}
	respond(w, r, http.StatusOK, body)
}

// readNames returns the names to list, sorted. For a large directory it returns the first
// names in sort order, in bounded memory, and truncated is true.
func readNames(dir *os.File) (names []string, truncated bool, err error) {
	for read := 0; read < maxNames; {
		// Readdirnames, since ReadDir may call lstat with a path that does not go
		// through os.Root.
		more, err := dir.Readdirnames(batch)
		read += len(more)
		for _, name := range more {
			if isListed(name) {
				names = append(names, name)
			}
		}
		if len(names) > 2*maxEntries {
			names, truncated = first(names), true
		}
		if err == io.EOF {
			slices.Sort(names)
			if len(names) > maxEntries {
				names, truncated = names[:maxEntries], true
			}
			return names, truncated, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
	return first(names), true, nil
}

// first returns the first maxEntries of names, sorted.
func first(names []string) []string {
	slices.Sort(names)
	return names[:min(len(names), maxEntries)]
}

// isListed reports whether a name appears in listings: hidden names, and names that ServeHTTP
// would reject, do not.
func isListed(name string) bool {
	return name != "" && name[0] != '.' && utf8.ValidString(name) && !strings.Contains(name, `\`) &&
		!strings.ContainsFunc(name, unicode.IsControl)
}

// examine returns the entries of names in dir that are files and directories. A symbolic
// link is listed as its target; a link that leads outside the root or nowhere, and a name that
// no longer exists, is omitted.
func (h *handler) examine(name string, dir *os.File, names []string) []listed {
	entries := make([]listed, 0, len(names))
	fd := int(dir.Fd())
	for _, entry := range names {
		stat, err := identify(fd, entry, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && stat.isLink() {
			stat, err = h.follow(path.Join(name, entry))
		}
		if err != nil || !stat.isRegular() && !stat.isDirectory() {
			continue
		}
		l := listed{Name: entry, Type: "directory", modified: stat.modified.time().UTC()}
		if stat.isRegular() {
			l.Type, l.Size = "file", stat.size
		}
		l.Modified = l.modified.Format(time.RFC3339)
		entries = append(entries, l)
	}
	return entries
}

// follow returns the identity of the target, inside the root, of the link at name. Only size,
// modified and mode are set.
func (h *handler) follow(name string) (identity, error) {
	info, err := h.root.Stat(name)
	if err != nil {
		return identity{}, err
	}
	stat := identity{size: info.Size(), modified: moment{info.ModTime().Unix(), uint32(info.ModTime().Nanosecond())}}
	switch {
	case info.Mode().IsRegular():
		stat.mode = unix.S_IFREG
	case info.IsDir():
		stat.mode = unix.S_IFDIR
	}
	return stat, nil
}

// listJSON returns a JSON array of as many entries as fit into maxListing.
func listJSON(entries []listed) (body string, truncated bool) {
	var b strings.Builder
	b.WriteByte('[')
	for i, entry := range entries {
		line, err := json.Marshal(entry)
		if err != nil {
			panic("files: " + err.Error()) // listed has only strings and numbers
		}
		if b.Len()+len(line)+len(",\n\n]\n") > maxListing {
			truncated = true
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		b.Write(line)
	}
	b.WriteString("\n]\n")
	return b.String(), truncated
}

const (
	listingHead = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%[1]s</title>
<style>
:root { color-scheme: light dark }
body { font: 16px/1.4 system-ui, sans-serif; max-width: 60em; margin: 1em auto; padding: 0 1em }
h1 { font-size: 1.2em; overflow-wrap: anywhere }
ul { list-style: none; padding: 0 }
li { display: flex; flex-wrap: wrap; gap: 0 1em; padding: .4em 0; border-top: 1px solid #8884 }
a { flex: 1 1 16em; overflow-wrap: anywhere }
span { flex: 0 0 6em; text-align: right; font-variant-numeric: tabular-nums }
time { flex: 0 0 11em; font-variant-numeric: tabular-nums }
</style>
</head>
<body>
<h1>%[1]s</h1>
<ul>
`
	listingFoot = "</ul>\n%s</body>\n</html>\n"
	listingNote = "<p><strong>This listing is truncated: the directory has too many entries.</strong> Files that are not listed can be downloaded by name.</p>\n"
)

// listHTML returns a page of as many entries as fit into maxListing, with a note if some do
// not, and reports whether it is truncated.
func listHTML(name string, entries []listed, truncated bool) (string, bool) {
	var b strings.Builder
	fmt.Fprintf(&b, listingHead, html.EscapeString(title(name)))
	if name != "." {
		b.WriteString("<li><a href=\"../\">../</a></li>\n")
	}
	room := maxListing - len(listingFoot) - len(listingNote)
	for _, entry := range entries {
		line := lineHTML(entry)
		if b.Len()+len(line) > room {
			truncated = true
			break
		}
		b.WriteString(line)
	}
	note := ""
	if truncated {
		note = listingNote
	}
	fmt.Fprintf(&b, listingFoot, note)
	return b.String(), truncated
}

func lineHTML(entry listed) string {
	name, size := entry.Name, ""
	// "./" keeps a name with a colon from being read as a scheme.
	target := "./" + url.PathEscape(name)
	if entry.isDirectory() {
		name, target = name+"/", target+"/"
	} else {
		size = humanSize(entry.Size)
	}
	return fmt.Sprintf("<li><a href=\"%s\">%s</a> <span>%s</span> <time datetime=\"%s\">%s</time></li>\n",
		html.EscapeString(target), html.EscapeString(name), size, entry.Modified, entry.modified.Format("2006-01-02 15:04 UTC"))
}

// title returns the path as a heading, without its beginning if it is long.
func title(name string) string {
	if name == "." {
		return "/"
	}
	const longest = 200 // characters
	if runes := []rune(name); len(runes) > longest {
		return "..." + string(runes[len(runes)-longest:]) + "/"
	}
	return "/" + name + "/"
}

// humanSize formats a number of bytes in the largest unit in which it is at least 1.
func humanSize(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/(1<<10), 0
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	for value >= 1<<10 && unit < len(units)-1 {
		value /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}
