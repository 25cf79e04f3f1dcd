package service

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"
)

// maxPEMBytes is the largest size of a PEM file. The certificate authorities that a Debian
// system trusts take less than a quarter of it.
const maxPEMBytes = 1 << 20

// A pemFile is the content of a PEM file.
type pemFile struct {
	path   string
	info   fs.FileInfo
	blocks []pemBlock
	faults []pemFault // in the order of the file
}

// A pemBlock is a BEGIN line, its END line, and the base64 between them, decoded.
type pemBlock struct {
	number    int    // from 1
	line      int    // of BEGIN, from 1
	label     string // "CERTIFICATE"; "" if the BEGIN line is broken
	encrypted bool   // by its Proc-Type header
	der       []byte // nil if the block is broken; then there is a pemFault for it
}

// A pemFault is a syntax error in a PEM file.
type pemFault struct {
	number, line int
	label        string // of the block; "" if unknown
	wrong, right string
}

// A fileError is the reason why a file or an address cannot be used, with a remedy.
type fileError struct {
	wrong, right string
	temporary    bool
}

func (e *fileError) Error() string { return e.wrong + "; " + e.right }

// readPEM reads the file at path. An error is a *fileError.
func readPEM(path string) (*pemFile, error) {
	data, info, err := readRegular(path, maxPEMBytes)
	if err != nil {
		return nil, err
	}
	f := &pemFile{path: path, info: info}
	f.blocks, f.faults = scanPEM(data)
	if len(f.blocks) == 0 && len(f.faults) == 0 {
		wrong, right := notPEM(data)
		return nil, &fileError{wrong: path + " " + wrong, right: right}
	}
	return f, nil
}

// readRegular reads a regular file of at most limit bytes. It does not open files of other
// types: opening a FIFO may block, and opening a device may have side effects. An error
// is a *fileError.
func readRegular(path string, limit int64) ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, unreadable(err)
	}
	if err := regular(path, info); err != nil {
		return nil, nil, err
	}
	// The file may have been replaced since Stat, so Open must not block either.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, unreadable(err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, unreadable(err)
	}
	if err := regular(path, info); err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, nil, unreadable(err)
	}
	if int64(len(data)) > limit {
		return nil, nil, &fileError{wrong: fmt.Sprintf("%s is larger than %d KiB", path, limit>>10), right: "name a PEM file"}
	}
	return data, info, nil
}

func regular(path string, info fs.FileInfo) error {
	kind := ""
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		kind = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a FIFO"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	case mode&fs.ModeDevice != 0:
		kind = "a device"
	default:
		kind = "no regular file"
	}
	return &fileError{wrong: path + " is " + kind, right: "name a PEM file"}
}

// unreadable returns the *fileError for an error of the operating system.
func unreadable(err error) *fileError {
	e := &fileError{wrong: "cannot be read: " + cause(err), right: "name a PEM file that this user may read"}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.right = forbidden
	case errors.Is(err, fs.ErrNotExist):
		e.right, e.temporary = "create that file, or name another", true
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENAMETOOLONG):
	default: // EIO, EMFILE, ESTALE and so on
		e.right, e.temporary = "repair the disk or the network, or raise the limit, that causes this error", true
	}
	return e
}

// forbidden is the remedy for a file that this user may not read.
const forbidden = "run this as root or as the service's user (sudo -u uringhttpd), or let that user's group read it"

// notPEM returns the problem and the remedy for a file without any PEM block.
func notPEM(data []byte) (wrong, right string) {
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return "is empty", "write PEM blocks into it"
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")),
		bytes.HasPrefix(data, []byte("-\x00")), bytes.HasPrefix(data, []byte("\x00-")):
		return "is UTF-16 text", "save it as ASCII or UTF-8 text"
	}
	if _, err := x509.ParseCertificate(data); err == nil {
		return "is a certificate in DER, not PEM", "convert it with `openssl x509 -inform der`"
	}
	if _, err := parseKey(data); err == nil {
		return "is a private key in DER, not PEM", "convert it with `openssl pkey -inform der`"
	}
	var sequence asn1.RawValue
	if rest, err := asn1.Unmarshal(data, &sequence); err == nil && len(rest) == 0 && sequence.Tag == asn1.TagSequence {
		var version int
		if _, err := asn1.Unmarshal(sequence.Bytes, &version); err == nil && version == 3 {
			return "is a PKCS #12 container, not PEM", "convert it with `openssl pkcs12 -nodes`"
		}
		return "is in DER, not PEM", "convert it with openssl and -inform der"
	}
	return "has no PEM block", "write blocks that begin with a line such as -----BEGIN CERTIFICATE-----"
}

const (
	pemDash  = `[-\x{2010}-\x{2015}\x{2212}]` // also the dashes that word processors write
	pemLabel = `(?i:(?:(?:X509|TRUSTED|NEW|ENCRYPTED|OPENSSH|PRIVATE|PUBLIC|RSA|DSA|EC|DH)\W*)*(?:CERTIFICATE|REQUEST|KEY|PARAMETERS|PKCS ?#?7|CMS|CRL))`
)

var (
	// brokenArmor matches a line that is probably intended as a BEGIN or END line: it differs
	// only in dashes, spaces, case and surrounding characters, or in its first word.
	// It does not match a comment such as "# end of the certificates".
	brokenArmor = regexp.MustCompile(`^(?:` +
		`[^A-Za-z0-9#]*` + pemDash + `[^A-Za-z0-9#]*(?i:BEGIN|END)\W*` + pemLabel + `[^A-Za-z0-9]*` +
		`|[^A-Za-z0-9#]*(?i:BEGIN|END)\W*` + pemLabel + `[^A-Za-z0-9]*` + pemDash + `[^A-Za-z0-9]*` +
		`|[^A-Za-z0-9#]*(?:BEGIN|END) [A-Z0-9 ]*(?:CERTIFICATE|KEY)\W*` +
		`|-{4,}[A-Z]{3,6} [A-Z0-9 ]*(?:CERTIFICATE|KEY)-{4,}` +
		`|\s*-----(?:BEGIN|END).*` +
		`)$`)
	isEnd = regexp.MustCompile(`^\W*(?i:E[A-Z]{0,2}D?)\b`)
	// glued matches the last line of a file without a trailing newline, followed by the first
	// line of the next file.
	glued     = regexp.MustCompile(`^-----END ([^-]+)----------BEGIN ([^-]+)-----$`)
	base64Run = regexp.MustCompile(`^[A-Za-z0-9+/]{60,76}$`)
	hexRun    = regexp.MustCompile(`^[A-Fa-f0-9]*$`)
)

// armor returns the label of a BEGIN or END line, as word selects, or "" if line is no such
// line.
func armor(line, word string) string {
	label, ok := strings.CutPrefix(line, "-----"+word+" ")
	if !ok {
		return ""
	}
	label, ok = strings.CutSuffix(label, "-----")
	if !ok || strings.Trim(label, "- ") != label {
		return ""
	}
	return label
}

// pemScanner reads a PEM file line by line. Unlike pem.Decode of encoding/pem it
// reports every malformed part of a block instead of skipping it.
type pemScanner struct {
	blocks []pemBlock
	faults []pemFault
	line   int

	open     bool
	broken   bool // a fault of the open block has been reported
	headers  bool // the next line of the open block may be a header
	body     strings.Builder
	bodyFrom int // line of the first byte of body that is not base64; 0: none
}

func scanPEM(data []byte) ([]pemBlock, []pemFault) {
	var s pemScanner
	for text := range bytes.Lines(data) {
		s.line++
		s.read(strings.TrimRight(string(text), "\r\n\t "))
	}
	if s.open {
		s.cut()
	}
	return s.blocks, s.faults
}

func (s *pemScanner) read(line string) {
	if m := glued.FindStringSubmatch(line); m != nil {
		s.fault("ends on the line where the next block begins", "write a line break between them")
		s.open, s.broken = false, false
		s.begin(m[2])
		return
	}
	if label := armor(line, "BEGIN"); label != "" {
		if s.open {
			s.cut()
		}
		s.begin(label)
		return
	}
	if label := armor(line, "END"); label != "" {
		s.end(label)
		return
	}
	if brokenArmor.MatchString(line) {
		s.brokenLine(line)
		return
	}
	if !s.open {
		if len(s.blocks) > 0 && strings.Contains(line, "\x00") {
			s.fault(fmt.Sprintf("is followed by binary data in line %d", s.line), "copy the file again")
		}
		if base64Run.MatchString(line) && !hexRun.MatchString(line) {
			s.begin("")
			s.fault("is base64 without a BEGIN line", "write that line before it, or remove it")
			s.broken = true
		}
		return
	}
	s.content(line)
}

func (s *pemScanner) begin(label string) {
	s.blocks = append(s.blocks, pemBlock{number: len(s.blocks) + 1, line: s.line, label: label})
	s.open, s.broken, s.headers, s.bodyFrom = true, false, true, 0
	s.body.Reset()
}

// brokenLine handles a line that matches brokenArmor.
func (s *pemScanner) brokenLine(line string) {
	const right = "write five dashes at both ends of it, the word BEGIN or END, and nothing else"
	if isEnd.MatchString(line) {
		if !s.open {
			s.begin("")
		}
		if !s.broken {
			s.fault(fmt.Sprintf("has a broken END line, %d", s.line), right)
		}
		s.open = false
		return
	}
	if s.open {
		s.cut()
	}
	s.begin("")
	s.fault("has a broken BEGIN line", right)
	s.broken = true
}

// cut ends a block without an END line.
func (s *pemScanner) cut() {
	if !s.broken {
		s.fault("is truncated: it has no END line", "copy the complete file again")
	}
	s.open = false
}

func (s *pemScanner) content(line string) {
	line = strings.TrimLeft(line, "\t ")
	b := &s.blocks[len(s.blocks)-1]
	if s.headers && s.body.Len() == 0 && strings.Contains(line, ":") {
		if key, value, _ := strings.Cut(line, ":"); key == "Proc-Type" && strings.Contains(value, "ENCRYPTED") {
			b.encrypted = true
		}
		return
	}
	if line == "" {
		return
	}
	s.headers = false
	if s.bodyFrom == 0 && strings.Trim(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") != "" {
		s.bodyFrom = s.line
	}
	s.body.WriteString(line)
}

func (s *pemScanner) end(label string) {
	if !s.open {
		s.begin("")
		s.open = false
		s.fault("is an END line without its BEGIN line", "copy the complete file again")
		return
	}
	s.open = false
	if s.broken {
		return
	}
	b := &s.blocks[len(s.blocks)-1]
	const copyAgain = "copy the file again"
	if b.label != label {
		s.fault(fmt.Sprintf("begins as %s and ends as %s in line %d", quoted(b.label), quoted(label), s.line), copyAgain)
		return
	}
	if s.bodyFrom != 0 {
		s.fault(fmt.Sprintf("has characters in line %d that are not base64", s.bodyFrom), copyAgain)
		return
	}
	der, err := base64.StdEncoding.DecodeString(s.body.String())
	switch {
	case err != nil:
		s.fault("is not valid base64: characters are missing or extra", copyAgain)
	case len(der) == 0:
		s.fault("is empty", copyAgain)
	default:
		b.der = der
	}
}

// fault reports a fault of the last block.
func (s *pemScanner) fault(wrong, right string) {
	f := pemFault{number: 1, line: s.line, wrong: wrong, right: right}
	if n := len(s.blocks); n > 0 {
		b := s.blocks[n-1]
		f.number, f.line, f.label = b.number, b.line, b.label
	}
	s.faults = append(s.faults, f)
}

// quoted quotes s, a text from a file, on one line of bounded length.
func quoted(s string) string {
	const limit = 60
	if len(s) > limit {
		return fmt.Sprintf("%q...", strings.ToValidUTF8(s[:limit], ""))
	}
	return fmt.Sprintf("%q", s)
}
