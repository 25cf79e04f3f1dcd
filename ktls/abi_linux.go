package ktls

// This file holds the kernel ABI of include/uapi/linux/tls.h. Sizes are checked by
// abi_test.go on every architecture; all members are bytes or 16-bit, so no padding
// can differ.

const (
	tlsTX            = 1 // TLS_TX, a socket option of SOL_TLS
	tlsSetRecordType = 1 // TLS_SET_RECORD_TYPE, a control message of SOL_TLS

	tls12Version = 0x0303 // TLS_1_2_VERSION
	tls13Version = 0x0304 // TLS_1_3_VERSION

	cipherAESGCM128        = 51 // TLS_CIPHER_AES_GCM_128
	cipherAESGCM256        = 52 // TLS_CIPHER_AES_GCM_256
	cipherChaCha20Poly1305 = 54 // TLS_CIPHER_CHACHA20_POLY1305
)

// cryptoInfo is struct tls_crypto_info.
type cryptoInfo struct {
	version    uint16
	cipherType uint16
}

// aesGCM128 is struct tls12_crypto_info_aes_gcm_128, 40 bytes.
type aesGCM128 struct {
	info   cryptoInfo
	iv     [8]byte
	key    [16]byte
	salt   [4]byte
	recSeq [8]byte
}

// aesGCM256 is struct tls12_crypto_info_aes_gcm_256, 56 bytes.
type aesGCM256 struct {
	info   cryptoInfo
	iv     [8]byte
	key    [32]byte
	salt   [4]byte
	recSeq [8]byte
}

// chaCha20Poly1305 is struct tls12_crypto_info_chacha20_poly1305, 56 bytes. Its salt
// is empty: the whole nonce is in iv.
type chaCha20Poly1305 struct {
	info   cryptoInfo
	iv     [12]byte
	key    [32]byte
	recSeq [8]byte
}
