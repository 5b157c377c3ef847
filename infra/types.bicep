// Types of the parameters. A wrong name, protocol or sign-in fails before anything is deployed. Mailboxes and routes have the
// settings' names without their prefix; docs/reference/settings.md describes each. A test compares the types with the
// settings that the app reads (shared/config/model.py, shared/routing/model.py), name by name and value by value.

// Secrets are not among a mailbox's settings: mailboxSecretNames has their names in the vault.

@export()
@description('Tags of every resource.')
type resourceTags = {
  *: string
}

type plusAddressing = 'mixed' | 'off' | 'only'

@description('An IMAP mailbox.')
@sealed()
type imapMailbox = {
  PROTOCOL: 'imap'
  ADDRESS: string

  @description('Not set: PRESET names the server.')
  HOST: string?

  PRESET: ('gmail-imap' | 'office365-imap')?

  @minValue(1)
  @maxValue(65535)
  PORT: int?

  TLS: ('implicit' | 'starttls' | 'none')?
  CA_FILE: string?
  ALLOW_PLAINTEXT: bool?
  USERNAME: string?
  SIGN_IN: ('password' | 'client-secret' | 'certificate' | 'managed-identity')?
  TENANT_ID: string?
  CLIENT_ID: string?
  CERTIFICATE_FILE: string?
  SHARED_MAILBOX: string?
  SHARED_LOGIN: string?
  FOLDERS: string[]?

  @description('delete, trash, keep, or move:FOLDER.')
  AFTER: string?

  SINCE: string?

  @minValue(1)
  @maxValue(86400)
  POLL_EVERY: int?

  MAX_MESSAGE_BYTES: string?

  @minValue(1)
  @maxValue(1000000)
  DISABLE_AFTER: int?

  ALIASES: string[]?
  DELIVERY_HINTS: bool?
  DELIVERY_FIELDS: string[]?

  @minValue(1)
  @maxValue(50)
  TRUSTED_HOPS: int?

  RECEIVED_BY: string?
  PLUS_ADDRESSING: plusAddressing?
  FALLBACK: string?
  BLOCKED_SENDERS: string[]?
  ENABLED: bool?
}

@description('A POP3 mailbox. It has one folder, so that mail can only be deleted or kept.')
@sealed()
type pop3Mailbox = {
  PROTOCOL: 'pop3'
  ADDRESS: string

  @description('Not set: PRESET names the server.')
  HOST: string?

  PRESET: ('gmail-pop3' | 'office365-pop3')?

  @minValue(1)
  @maxValue(65535)
  PORT: int?

  TLS: ('implicit' | 'starttls' | 'none')?
  CA_FILE: string?
  ALLOW_PLAINTEXT: bool?
  USERNAME: string?
  SIGN_IN: ('password' | 'client-secret' | 'certificate' | 'managed-identity')?
  TENANT_ID: string?
  CLIENT_ID: string?
  CERTIFICATE_FILE: string?
  SHARED_MAILBOX: string?
  SHARED_LOGIN: string?
  AFTER: ('delete' | 'keep')?
  SINCE: string?

  @minValue(1)
  @maxValue(86400)
  POLL_EVERY: int?

  MAX_MESSAGE_BYTES: string?

  @minValue(1)
  @maxValue(1000000)
  DISABLE_AFTER: int?

  ALIASES: string[]?
  DELIVERY_HINTS: bool?
  DELIVERY_FIELDS: string[]?

  @minValue(1)
  @maxValue(50)
  TRUSTED_HOPS: int?

  RECEIVED_BY: string?
  PLUS_ADDRESSING: plusAddressing?
  FALLBACK: string?
  BLOCKED_SENDERS: string[]?
  ENABLED: bool?
}

@description('A mailbox of Office 365, read through Microsoft Graph. tuning.GRAPH_ENDPOINT names the server.')
@sealed()
type graphMailbox = {
  PROTOCOL: 'graph'
  ADDRESS: string
  PRESET: 'office365-graph'?
  CA_FILE: string?
  SIGN_IN: ('client-secret' | 'certificate' | 'managed-identity')?
  TENANT_ID: string?
  CLIENT_ID: string?
  CERTIFICATE_FILE: string?
  SHARED_MAILBOX: string?
  FOLDERS: string[]?

  @description('delete, trash, keep, or move:FOLDER.')
  AFTER: string?

  SINCE: string?

  @minValue(1)
  @maxValue(86400)
  POLL_EVERY: int?

  MAX_MESSAGE_BYTES: string?

  @minValue(1)
  @maxValue(1000000)
  DISABLE_AFTER: int?

  ALIASES: string[]?
  DELIVERY_HINTS: bool?
  DELIVERY_FIELDS: string[]?

  @minValue(1)
  @maxValue(50)
  TRUSTED_HOPS: int?

  RECEIVED_BY: string?
  PLUS_ADDRESSING: plusAddressing?
  FALLBACK: string?
  BLOCKED_SENDERS: string[]?
  ENABLED: bool?
}

@export()
@description('A mailbox: MAILBOXES__<name>__<SETTING>.')
@discriminator('PROTOCOL')
type mailbox = imapMailbox | pop3Mailbox | graphMailbox

@export()
@description('The names of a mailbox\'s secrets in the vault, by the setting that reads the secret.')
@sealed()
type secretNames = {
  PASSWORD: string?
  CLIENT_SECRET: string?
  CERTIFICATE: string?
  CERTIFICATE_PASSWORD: string?
}

@export()
@description('A route: ROUTES__<name>__<SETTING>.')
@sealed()
type route = {
  MAILBOX: string?
  ADDRESS: string?

  @minValue(-1000000)
  @maxValue(1000000)
  ORDER: int?

  SENDERS: string[]?
  RECIPIENTS: string[]?
  SUBJECT_WORDS: string[]?
  ATTACHMENT_TYPES: string[]?
  IMPORTANT: bool?
  FOLDERS: string[]?
  ENABLED: bool?
}

@export()
@description('Settings that hold a list. App settings are texts: entries are separated by a semicolon.')
var listSettings = [
  'ALIASES'
  'ATTACHMENT_TYPES'
  'BLOCKED_SENDERS'
  'DELIVERY_FIELDS'
  'FOLDERS'
  'RECIPIENTS'
  'SENDERS'
  'SUBJECT_WORDS'
]

@export()
@description('App settings with a default that may be changed. Azure rejects settings of other plans, so that no others are allowed.')
@sealed()
type tuning = {
  @description('Six fields, seconds first.')
  POLL_SCHEDULE: string?

  @description('Seconds.')
  @minValue(1)
  POLL_BUDGET: int?

  @minValue(1)
  @maxValue(1000000)
  LOOP_LIMIT: int?

  @minValue(1)
  @maxValue(1000000)
  MAX_RECIPIENTS: int?

  @minValue(1)
  @maxValue(1000000)
  MAX_ATTACHMENTS: int?

  SIGN_IN_AUTHORITY: string?
  GRAPH_ENDPOINT: string?

  @minValue(45)
  @maxValue(1000000)
  GRAPH_SUBSCRIPTION_MINUTES: int?
}

@export()
@description('A function that receives an event for each result.')
@sealed()
type consumer = {
  @description('Name of the event subscription: 3 to 64 letters, digits and hyphens.')
  name: string

  @description('Resource id of the function, which must exist: /subscriptions/…/sites/APP/functions/FUNCTION.')
  functionId: string

  @description('The route whose results it receives. Not set: the results of all routes.')
  route: string?
}

@export()
@description('A virtual network that exists. Its subnet for the app is delegated to Microsoft.App/environments.')
@sealed()
type existingNetwork = {
  appSubnetId: string
  endpointSubnetId: string

  @description('Private DNS zones that are linked to the network. Not set: no records are written, for example because a policy writes them.')
  dnsZoneIds: dnsZoneIds?
}

@export()
@description('Resource ids of the private DNS zones.')
@sealed()
type dnsZoneIds = {
  blob: string
  queue: string
  table: string
  vault: string
}

@export()
@description('A service that gets a private endpoint.')
@sealed()
type endpointTarget = {
  name: string
  resourceId: string
  group: 'blob' | 'queue' | 'table' | 'vault'
}

@export()
@description('Whether a service accepts connections from outside the virtual network.')
type publicAccess = 'Enabled' | 'Disabled'

@export()
type redundancy =
  | 'Standard_LRS'
  | 'Standard_ZRS'
  | 'Standard_GRS'
  | 'Standard_RAGRS'
  | 'Standard_GZRS'
  | 'Standard_RAGZRS'

@export()
type principalType = 'User' | 'Group' | 'ServicePrincipal'

@export()
@description('The resources on which roles are assigned.')
@sealed()
type roleTargets = {
  appGroup: string
  storageName: string
  leaseContainer: string
  vaultName: string
  insightsName: string
  mailSubscription: string
  mailGroup: string
  mailStorageName: string
  mailContainer: string
  mailTables: string[]
}
