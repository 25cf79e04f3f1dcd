// Command pin moves the packages that the board tests run with (pins.txt in the directory
// above this one) to the newest versions in Debian's archive, and prints the new text. It is run by
// make pins.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"uringhttpd/test/board/debian"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	text, err := debian.UpdatePins(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pin:", err)
		os.Exit(1)
	}
	fmt.Print(text)
}
