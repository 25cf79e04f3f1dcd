package files

import (
	"path"
	"strings"
)

// contentType returns the media type for a file name. The result is the same on every
// board, unlike that of the mime package, which reads the system's tables, and
// never depends on the content. Firmware formats have no registered type, and are
// application/octet-stream like every unknown extension.
func contentType(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	// Text that a browser should display.
	case ".txt", ".text", ".log", ".md", ".sha1", ".sha256", ".sha512", ".md5", ".asc", ".pem", ".pub",
		".conf", ".cfg", ".ini", ".sh", ".py", ".c", ".h", ".go", ".dts", ".dtsi", ".patch", ".diff",
		".manifest", ".list", ".hex", ".srec":
		return "text/plain; charset=utf-8"
	case ".csv":
		return "text/csv; charset=utf-8"
	case ".json", ".map":
		return "application/json"
	case ".yaml", ".yml":
		return "application/yaml"
	case ".toml":
		return "application/toml"
	case ".xml", ".bmap":
		return "application/xml"

	// The web.
	case ".html", ".htm":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".wasm":
		return "application/wasm"
	case ".webmanifest":
		return "application/manifest+json"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".gif":
		return "image/gif"
	case ".webp":
		return "image/webp"
	case ".avif":
		return "image/avif"
	case ".ico":
		return "image/vnd.microsoft.icon"
	case ".woff":
		return "font/woff"
	case ".woff2":
		return "font/woff2"
	case ".ttf":
		return "font/ttf"
	case ".otf":
		return "font/otf"
	case ".mp3":
		return "audio/mpeg"
	case ".wav":
		return "audio/wav"
	case ".ogg":
		return "audio/ogg"
	case ".mp4":
		return "video/mp4"
	case ".webm":
		return "video/webm"
	case ".pdf":
		return "application/pdf"

	// Archives and packages.
	case ".gz", ".tgz":
		return "application/gzip"
	case ".zst":
		return "application/zstd"
	case ".xz", ".txz":
		return "application/x-xz"
	case ".bz2":
		return "application/x-bzip2"
	case ".tar":
		return "application/x-tar"
	case ".cpio":
		return "application/x-cpio"
	case ".zip":
		return "application/zip"
	case ".7z":
		return "application/x-7z-compressed"
	case ".iso":
		return "application/x-iso9660-image"
	case ".deb":
		return "application/vnd.debian.binary-package"
	case ".rpm":
		return "application/x-rpm"
	case ".p7s":
		return "application/pkcs7-signature"
	case ".crl":
		return "application/pkix-crl"

	// Listed to show that the type is intended: bundles of RAUC, SWUpdate and Mender,
	// images, device trees, packages of opkg, binary signatures.
	case ".raucb", ".swu", ".mender", ".bin", ".img", ".wic", ".ext4", ".squashfs", ".erofs", ".ubi",
		".ubifs", ".dtb", ".dtbo", ".itb", ".fit", ".elf", ".ipk", ".sig":
		return "application/octet-stream"
	}
	return "application/octet-stream"
}
