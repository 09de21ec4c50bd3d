// Receives Transcodely's webhooks, as posthaste sends them with the profile `transcodely`: go run receiver.go [PORT]
//
// The secret is the example's; WEBHOOK_SECRET in the environment replaces it.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	window     = 5 * time.Minute
	largest    = 1 << 20 // bytes of a body
	remembered = 100_000 // deliveries
)

type event struct {
	Event string `json:"event"`
	Job   struct {
		ID      string `json:"id"`
		Outputs []struct {
			ID     string `json:"id"`
			Status string `json:"status"`
			URL    string `json:"output_url"`
		} `json:"outputs"`
	} `json:"job"`
}

type named struct {
	delivery string
	event    event
}

// verify says why the request is not to be trusted; nil if it is. The body is the bytes that came.
func verify(secret []byte, header http.Header, body []byte, now time.Time) error {
	timestamp := header.Get("X-Transcodely-Timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > window {
		return errors.New("the timestamp is missing, or not of these 5 minutes")
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	expected := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	// In constant time.
	if !hmac.Equal([]byte(expected), []byte(header.Get("X-Transcodely-Signature"))) {
		return errors.New("the signature is another")
	}
	return nil
}

// inbox takes each delivery once. A real one is a database, which holds the event, too.
type inbox struct {
	lock    sync.Mutex
	known   map[string]bool
	order   []string
	waiting chan named
}

var errBusy = errors.New("busy")

func (in *inbox) take(delivery string, what event) (fresh bool, err error) {
	in.lock.Lock()
	defer in.lock.Unlock()
	if in.known[delivery] {
		return false, nil
	}
	select {
	case in.waiting <- named{delivery, what}:
	default:
		return false, errBusy
	}
	in.known[delivery] = true
	in.order = append(in.order, delivery)
	if len(in.order) > remembered {
		delete(in.known, in.order[0])
		in.order = in.order[1:]
	}
	return true, nil
}

// handle does what the event is for.
func handle(delivery string, what event) {
	fmt.Println("handled", delivery, what.Event, what.Job.ID)
	if what.Event == "job.completed" || what.Event == "job.partial" {
		for _, output := range what.Job.Outputs {
			fmt.Println(" ", output.ID, output.Status, output.URL)
		}
	}
}

func (in *inbox) receive(secret []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largest))
		if err != nil {
			http.Error(w, "too much", http.StatusRequestEntityTooLarge)
			return
		}
		if err := verify(secret, r.Header, body, time.Now()); err != nil {
			fmt.Println("refused:", err)
			http.Error(w, "Invalid signature", http.StatusUnauthorized)
			return
		}
		delivery := r.Header.Get("X-Transcodely-Delivery-ID")
		var what event
		if err := json.Unmarshal(body, &what); err != nil || delivery == "" {
			fmt.Println("not understood:", err)
			http.Error(w, "Not understood", http.StatusBadRequest)
			return
		}
		switch fresh, err := in.take(delivery, what); {
		case err != nil:
			http.Error(w, "Busy", http.StatusServiceUnavailable) // it comes again
		case fresh:
			fmt.Fprintln(w, "OK")
		default:
			fmt.Println("repeated", delivery)
			fmt.Fprintln(w, "Already processed")
		}
	}
}

func main() {
	secret := os.Getenv("WEBHOOK_SECRET")
	if secret == "" {
		secret = "whsec_kT9vRm3xZp7wQd5n" // the text as it is
	}
	port := "8495"
	if len(os.Args) > 1 {
		port = os.Args[1]
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	in := &inbox{known: map[string]bool{}, waiting: make(chan named, 1000)}
	// Another goroutine handles what was taken, so that the answer need not wait for that.
	go func() {
		for next := range in.waiting {
			handle(next.delivery, next.event)
		}
	}()
	fmt.Printf("listening on http://%s/webhooks/transcodely\n", listener.Addr())
	server := &http.Server{Handler: in.receive([]byte(secret)), ReadTimeout: 30 * time.Second}
	log.Fatal(server.Serve(listener))
}
