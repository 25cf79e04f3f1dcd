package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

const (
	keyFile = "file" // Problem.Key for the file as a whole
	keyYAML = "yaml" // Problem.Key for syntax
)

// document returns the top-level mapping of the file, or reports a problem and returns nil.
func (r *reader) document(data []byte) *yaml.Node {
	if len(data) > maxFileBytes {
		r.add(1, keyFile, "is larger than 64 KiB", "name a configuration file")
		return nil
	}
	if line, wrong, right := checkText(data); line != 0 {
		r.add(line, keyFile, wrong, right)
		return nil
	}
	first, second, err := decode(data)
	if err != nil {
		r.add(r.syntaxProblem(data, err))
		return nil
	}
	if first == nil || isNull(first.Content[0]) {
		r.add(1, keyFile, "is empty", "write at least listen and root")
		return nil
	}
	if second != nil {
		r.add(second.Content[0].Line, keyFile, "a second YAML document starts here", "keep one, and remove the line with ---")
		return nil
	}
	top := first.Content[0]
	if top.Kind != yaml.MappingNode {
		r.add(top.Line, keyFile, describe(top)+" where keys are expected", "write lines such as \"root: /srv/firmware\"")
		return nil
	}
	return top
}

// checkText returns the first line that is not plain UTF-8 text with LF or CRLF line endings,
// and the texts of a Problem; line is 0 if there is none. It ensures that editors agree with
// this package on line numbers.
func checkText(data []byte) (line int, wrong, right string) {
	line = 1
	for i := 0; i < len(data); {
		c, n := utf8.DecodeRune(data[i:])
		switch {
		case c == utf8.RuneError && n <= 1:
			return line, "a byte here is not UTF-8", "save the file as UTF-8 text"
		case c == '\n':
			line++
		case c == '\r' && !bytes.HasPrefix(data[i:], []byte("\r\n")):
			return line, "a carriage return without a line feed", "end lines with LF or CRLF"
		case c == '\ufeff' && i > 0:
			return line, "a byte order mark inside the text", "remove it"
		case c < ' ' && c != '\t' && c != '\r', c == 0x7f, 0x80 <= c && c < 0xa0, c == '\u2028', c == '\u2029':
			return line, fmt.Sprintf("the control character %U", c), "remove it"
		}
		i += n
	}
	return 0, "", ""
}

func countLines(data []byte) int {
	return bytes.Count(data, []byte("\n")) + 1
}

// decode parses the first two documents of data, without following aliases. A
// missing document is nil.
func decode(data []byte) (first, second *yaml.Node, err error) {
	// yaml.v3 has panicked on malformed input before (CVE-2022-28948). A reload
	// must not end the daemon.
	defer func() {
		if p := recover(); p != nil {
			first, second, err = nil, nil, fmt.Errorf("yaml: %v", p)
		}
	}()
	d := yaml.NewDecoder(bytes.NewReader(data))
	for _, document := range []**yaml.Node{&first, &second} {
		n := new(yaml.Node)
		switch err := d.Decode(n); {
		case errors.Is(err, io.EOF):
			return first, second, nil
		case err != nil:
			return nil, nil, err
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
			*document = n
		}
	}
	return first, second, nil
}

// syntaxProblem returns the arguments of add for an error returned by decode.
func (r *reader) syntaxProblem(data []byte, err error) (line int, key, wrong, right string) {
	line, reason := splitError(err)
	if found := brokenLine(data); found != 0 {
		line = found
	}
	line = min(max(line, 1), r.last)
	if text := lineOf(data, line); strings.HasPrefix(strings.TrimLeft(text, " "), "\t") {
		return line, keyYAML, "a tab indents this line", "indent with spaces"
	}
	if strings.HasPrefix(reason, "unknown anchor") {
		return line, keyYAML, "an alias (*) without its anchor", "write the value itself; text that starts with * needs quotes"
	}
	return line, keyYAML, "invalid YAML syntax here (" + reason + ")", "check the indentation, quotes and brackets of this line and the one above"
}

// splitError extracts the line number, 0 if there is none, and the reason from the text of an
// error of yaml.v3, which provides them only as text.
func splitError(err error) (line int, reason string) {
	m := regexp.MustCompile(`(?s)^(?:yaml: )?(?:line (\d+): )?(.*)$`).FindStringSubmatch(err.Error())
	line, _ = strconv.Atoi(m[1])
	if m[2] == "" || !isLine(m[2]) {
		return line, "not YAML"
	}
	return line, m[2]
}

func isLine(s string) bool {
	return len(s) < 200 && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == utf8.RuneError })
}

// brokenLine returns the line with the syntax error, or 0 if the search takes too long.
// yaml.v3 tends to name the line where the enclosing mapping begins. The line with the error
// is the first line L such that no prefix of the file that ends with L or a later line is
// valid. A bracket that is open for a few lines is no error, since the prefix that ends with
// its closing line is valid.
func brokenLine(data []byte) int {
	budget := 512 << 10 // bytes to decode, less than a second
	end := len(data)
	for line := countLines(data); line > 1; line-- {
		end = bytes.LastIndexByte(data[:end], '\n')
		if budget -= end; budget < 0 {
			return 0
		}
		if _, _, err := decode(data[:end+1]); err == nil {
			return line
		}
	}
	return 1
}

func lineOf(data []byte, line int) string {
	lines := bytes.Split(data, []byte("\n"))
	return string(lines[line-1])
}
