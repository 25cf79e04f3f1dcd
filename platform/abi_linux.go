package platform

// The kernel's binary interface, all of it that this package uses. Sizes and
// offsets are checked by abi_linux_test.go on every architecture.

// include/uapi/linux/io_uring.h
const (
	setupSingleIssuer = 1 << 12 // IORING_SETUP_SINGLE_ISSUER, Linux 6.0
	setupDeferTaskrun = 1 << 13 // IORING_SETUP_DEFER_TASKRUN, Linux 6.1
)

// uringParams is struct io_uring_params. The kernel fills in the offsets of the
// rings, which a probe has no use for.
type uringParams struct {
	sqEntries    uint32
	cqEntries    uint32
	flags        uint32
	sqThreadCPU  uint32
	sqThreadIdle uint32
	features     uint32
	wqFD         uint32
	resv         [3]uint32
	sqOff        [10]uint32 // struct io_sqring_offsets
	cqOff        [10]uint32 // struct io_cqring_offsets
}

// include/uapi/linux/tls.h, include/linux/socket.h
const (
	solTLS             = 282    // SOL_TLS
	tlsTX              = 1      // TLS_TX
	tls13Version       = 0x0304 // TLS_1_3_VERSION
	cipherAESGCM128    = 51     // TLS_CIPHER_AES_GCM_128
	ulpTLS             = "tls"
	sizeofCryptoAESGCM = 40
)

// cryptoInfoAESGCM128 is struct tls12_crypto_info_aes_gcm_128, which serves
// TLS 1.2 and 1.3 alike.
type cryptoInfoAESGCM128 struct {
	version    uint16 // tls_crypto_info.version, host byte order
	cipherType uint16 // tls_crypto_info.cipher_type, host byte order
	iv         [8]byte
	key        [16]byte
	salt       [4]byte
	recSeq     [8]byte
}

// include/uapi/linux/capability.h
const (
	capNetAdmin = 12 // CAP_NET_ADMIN
	capSysAdmin = 21 // CAP_SYS_ADMIN
)

// seccompFilter is SECCOMP_MODE_FILTER of include/uapi/linux/seccomp.h, as the
// line "Seccomp:" of /proc/self/status shows it.
const seccompFilter = 2
