package cryptoapi

// This file holds the kernel ABI that this package uses. abi_linux_test.go checks sizes and offsets
// on every architecture.

// include/uapi/linux/cryptouser.h, include/uapi/linux/netlink.h
const (
	netlinkCrypto   = 21   // NETLINK_CRYPTO
	cryptoNewAlg    = 0x10 // CRYPTO_MSG_NEWALG
	cryptoUpdateAlg = 0x12 // CRYPTO_MSG_UPDATEALG
	cryptoGetAlg    = 0x13 // CRYPTO_MSG_GETALG
	cryptoPriority  = 1    // CRYPTOCFGA_PRIORITY_VAL, a u32
	cryptoName      = 64   // CRYPTO_MAX_NAME
	netlinkHeader   = 16   // sizeof(struct nlmsghdr)
	attributeHeader = 4    // sizeof(struct nlattr)
)

// cryptoUserAlg is struct crypto_user_alg.
type cryptoUserAlg struct {
	name, driver, module [cryptoName]byte
	typ, mask            uint32
	_                    uint32 // cru_refcnt
	flags                uint32
}

// Algorithm flags of include/linux/crypto.h. The header is internal to the kernel, but
// crypto_user reports these same values.
const (
	algTypeMask         = 0xf     // CRYPTO_ALG_TYPE_MASK
	algTypeAEAD         = 3       // CRYPTO_ALG_TYPE_AEAD
	algAsync            = 1 << 7  // CRYPTO_ALG_ASYNC
	algKernelDriverOnly = 1 << 12 // CRYPTO_ALG_KERN_DRIVER_ONLY: hardware that programs cannot use directly
)
