// A log of another make: Go's own transparency-log packages and HTTP client, asking a witness as C2SP tlog-witness has
// it and as Tessera does: it starts from the old size 0, takes the size of a 409, and opens the checkpoint with the
// witness's lines behind it as one note. Prints a line a size: the size, how many requests it took, the time cosigned.
//
//	client URL LOG-SIGNER-KEY WITNESS-VERIFIER-KEY SIZE...
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// cosigner verifies timestamped Ed25519 cosignatures (type 0x04), which x/mod does not know.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
	time int64
}

func newCosigner(vkey string) (*cosigner, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("no verifier key")
	}
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(raw) != 33 || raw[0] != 4 {
		return nil, fmt.Errorf("no cosigner's key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), raw...))
	id := binary.BigEndian.Uint32(sum[:4])
	if fmt.Sprintf("%08x", id) != parts[1] {
		return nil, fmt.Errorf("the key id is not the key's")
	}
	return &cosigner{parts[0], id, raw[1:], 0}, nil
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }
func (c *cosigner) Verify(text, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	c.time = int64(binary.BigEndian.Uint64(sig))
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", c.time, text)
	return ed25519.Verify(c.key, []byte(message), sig[8:])
}

type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, index := range indexes {
		found = append(found, h[index])
	}
	return found, nil
}

type client struct {
	url      string
	signer   note.Signer
	witness  *cosigner
	stored   hashes
	size     int64
	old      int64
	requests int
}

func (c *client) grow(size int64) error {
	for ; c.size < size; c.size++ {
		more, err := tlog.StoredHashes(c.size, []byte(fmt.Sprintf("entry %d", c.size)), c.stored)
		if err != nil {
			return err
		}
		c.stored = append(c.stored, more...)
	}
	return nil
}

// cosign has the present size cosigned.
func (c *client) cosign() error {
	root, err := tlog.TreeHash(c.size, c.stored)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", c.signer.Name(), c.size, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, c.signer)
	if err != nil {
		return err
	}
	for try := 0; try < 3; try++ {
		var body bytes.Buffer
		fmt.Fprintf(&body, "old %d\n", c.old)
		if c.old > 0 {
			proof, err := tlog.ProveTree(c.size, c.old, c.stored)
			if err != nil {
				return err
			}
			for _, hash := range proof {
				fmt.Fprintln(&body, base64.StdEncoding.EncodeToString(hash[:]))
			}
		}
		fmt.Fprintln(&body)
		body.Write(signed)
		c.requests++
		response, err := http.Post(c.url+"/add-checkpoint", "text/plain", &body)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
		response.Body.Close()
		if err != nil {
			return err
		}
		switch {
		case response.StatusCode == http.StatusOK:
			if _, err := note.Open(append(signed, answer...), note.VerifierList(c.witness)); err != nil {
				return err
			}
			c.old = c.size
			return nil
		case response.StatusCode == http.StatusConflict && response.Header.Get("Content-Type") == "text/x.tlog.size":
			held, err := strconv.ParseInt(strings.TrimSuffix(string(answer), "\n"), 10, 64)
			if err != nil || held > c.size {
				return fmt.Errorf("the witness holds %q", answer)
			}
			c.old = held
		default:
			return fmt.Errorf("HTTP %d: %s", response.StatusCode, answer)
		}
	}
	return fmt.Errorf("the witness names another size each time")
}

func run(arguments []string) error {
	signer, err := note.NewSigner(arguments[1])
	if err != nil {
		return err
	}
	witness, err := newCosigner(arguments[2])
	if err != nil {
		return err
	}
	c := &client{url: arguments[0], signer: signer, witness: witness}
	for _, argument := range arguments[3:] {
		size, err := strconv.ParseInt(argument, 10, 64)
		if err != nil {
			return err
		}
		c.requests = 0
		if err := c.grow(size); err != nil {
			return err
		}
		if err := c.cosign(); err != nil {
			return err
		}
		if away := time.Now().Unix() - c.witness.time; away < -60 || away > 600 {
			return fmt.Errorf("the cosignature's time is %d s away", away)
		}
		fmt.Println(c.size, c.requests, c.witness.time)
	}
	return nil
}

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}
