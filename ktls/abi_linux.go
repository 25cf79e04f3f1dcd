package ktls

import "encoding/binary"

// This file holds the kernel ABI of include/uapi/linux/tls.h. abi_linux_test.go checks sizes and offsets
// on every architecture.

const (
	tlsTX            = 1 // TLS_TX, a socket option of SOL_TLS
	tlsSetRecordType = 1 // TLS_SET_RECORD_TYPE, a control message of SOL_TLS

	tls12Version = 0x0303 // TLS_1_2_VERSION
	tls13Version = 0x0304 // TLS_1_3_VERSION

	cipherAESGCM128        = 51 // TLS_CIPHER_AES_GCM_128
	cipherAESGCM256        = 52 // TLS_CIPHER_AES_GCM_256
	cipherChaCha20Poly1305 = 54 // TLS_CIPHER_CHACHA20_POLY1305
)

// versionSize is the size of struct tls_crypto_info: version and cipher type, two 16-bit numbers.
const versionSize = 4

// cryptoInfo encodes struct tls12_crypto_info_aes_gcm_128, _aes_gcm_256 or _chacha20_poly1305. Each
// is a struct tls_crypto_info followed by byte arrays, so there is no padding: the initialization
// vector, the key, the salt and the record sequence number. The salt is the first part of nonce; it
// is empty with ChaCha20-Poly1305.
func cryptoInfo(version, cipherType uint16, saltSize int, nonce [nonceSize]byte, key []byte, seq uint64) []byte {
	b := make([]byte, 0, maxInfoSize)
	b = binary.NativeEndian.AppendUint16(b, version)
	b = binary.NativeEndian.AppendUint16(b, cipherType)
	b = append(b, nonce[saltSize:]...)
	b = append(b, key...)
	b = append(b, nonce[:saltSize]...)
	return binary.BigEndian.AppendUint64(b, seq)
}
