// Says whether a webhook is genuine: WEBHOOK_SECRET=whsec_… go run verify.go ID TIMESTAMP SIGNATURES < body
//
// The three are the headers webhook-id, webhook-timestamp and webhook-signature.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

const tolerance = 5 * time.Minute

// verify says why the request is not genuine; nil if it is. body is the bytes that came, before anything reads them.
func verify(secret, delivery, timestamp, signatures string, body []byte) error {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
		return errors.New("the timestamp is missing, or too far from now")
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return fmt.Errorf("the secret is no key: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(delivery + "." + timestamp + "."))
	mac.Write(body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	// While a rotation of secrets overlaps there are several: one of them is enough. Each is compared in constant time.
	for _, one := range strings.Split(signatures, " ") {
		if hmac.Equal([]byte(one), []byte(expected)) {
			return nil
		}
	}
	return errors.New("the signature is another")
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "ID TIMESTAMP SIGNATURES < body")
		os.Exit(2)
	}
	body, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = verify(os.Getenv("WEBHOOK_SECRET"), os.Args[1], os.Args[2], os.Args[3], body)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
