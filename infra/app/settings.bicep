// All app settings; a deployment removes any other setting from the app. docs/reference/settings.md describes each of
// them. A test compares the names with the code, and the default values with the code's defaults.

import { listSettings, mailbox, route, secretNames, tuning as tuningSettings } from '../types.bicep'

param siteName string
param hostName string

@description('The app\'s own storage account.')
param storageName string

@description('Blob endpoint of the mail\'s storage account: https://ACCOUNT.blob.…')
param mailStorageUrl string
param mailContainer string
param insightsConnectionString string

@description('Client id of the user-assigned identity; empty: the system-assigned identity.')
param identityClientId string

@description('URL of the vault, with a slash at its end.')
param vaultUri string

@description('Mailboxes: { support: { PROTOCOL: \'imap\', HOST: \'imap.example.com\', ADDRESS: \'support@example.com\' } }')
param mailboxes { *: mailbox }

@description('Names of secrets in the vault, by setting: { support: { PASSWORD: \'support-password\' } }.')
param mailboxSecretNames { *: secretNames }

@description('Routes: { sales: { ADDRESS: \'sales@example.com\' } }')
param routes { *: route }

@description('Name of the secret in the vault for GRAPH_CLIENT_STATE_KEY. Empty: no Graph notifications.')
param graphKeySecretName string

@description('Other values for the settings in defaults below.')
param tuning tuningSettings

// A setting that a binding names (POLL_SCHEDULE) must be set. The others repeat the code's defaults.
var defaults = {
  POLL_SCHEDULE: '0 * * * * *'
  POLL_BUDGET: '300'
  LOOP_LIMIT: '25'
  MAX_RECIPIENTS: '200'
  MAX_ATTACHMENTS: '200'
  #disable-next-line no-hardcoded-env-urls
  SIGN_IN_AUTHORITY: 'https://login.microsoftonline.com'
  GRAPH_ENDPOINT: 'https://graph.microsoft.com/v1.0'
  GRAPH_SUBSCRIPTION_MINUTES: '10080'
}

// The host and the SDKs use the same identity. DefaultAzureCredential reads AZURE_CLIENT_ID, for MAIL_STORAGE.
var userAssigned = empty(identityClientId)
  ? {}
  : {
      AzureWebJobsStorage__clientId: identityClientId
      AZURE_CLIENT_ID: identityClientId
    }

var platform = {
  AzureWebJobsStorage__accountName: storageName
  AzureWebJobsStorage__credential: 'managedidentity'
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: empty(identityClientId)
    ? 'Authorization=AAD'
    : 'ClientId=${identityClientId};Authorization=AAD'
  // Four queue functions with six threads each, and three timers. With fewer, a long poll delays messages
  // (docs/reference/host.md).
  PYTHON_THREADPOOL_THREAD_COUNT: '32'
  // The worker passes the host's trace on, and the host does not send the app's log lines a second time.
  PYTHON_ENABLE_OPENTELEMETRY: 'true'
}

var mail = {
  MAIL_STORAGE: mailStorageUrl
  MAIL_CONTAINER: mailContainer
}

// References without a version: a new version is used within a day, or at once after a refresh (infra/README.md).
var graph = empty(graphKeySecretName)
  ? {}
  : {
      GRAPH_WEBHOOK_URL: 'https://${hostName}/api/graph_webhook'
      GRAPH_CLIENT_STATE_KEY: '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/${graphKeySecretName})'
    }

var owners = concat(
  map(items(mailboxes), box => { prefix: 'MAILBOXES__${box.key}', settings: items(box.value) }),
  map(items(routes), entry => { prefix: 'ROUTES__${entry.key}', settings: items(entry.value) })
)

// Settings that are null in a parameter file are not set.
var ownerList = flatten(map(
  owners,
  owner =>
    map(filter(owner.settings, setting => setting.value != null), setting => {
      name: '${owner.prefix}__${setting.key}'
      value: contains(listSettings, setting.key) ? join(setting.value, ';') : string(setting.value)
    })
))

// SIGN_IN in any case, as the app reads it. Without a client id, Azure requests tokens for the app's system-assigned
// identity.
var identityList = map(
  filter(
    items(mailboxes),
    box => !empty(identityClientId) && (box.value.?SIGN_IN ?? '') =~ 'managed-identity' && box.value.?CLIENT_ID == null
  ),
  box => {
    name: 'MAILBOXES__${box.key}__CLIENT_ID'
    value: identityClientId
  }
)

var secretList = flatten(map(
  items(mailboxSecretNames),
  box =>
    map(filter(items(box.value), setting => setting.?value != null), setting => {
      name: 'MAILBOXES__${box.key}__${setting.key}'
      value: '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/${setting.?value})'
    })
))

var changed = toObject(
  filter(items(tuning), setting => setting.value != null),
  setting => setting.key,
  setting => string(setting.value)
)

var named = toObject(concat(ownerList, identityList, secretList), entry => entry.name, entry => entry.value)

resource site 'Microsoft.Web/sites@2025-03-01' existing = {
  name: siteName
}

resource settings 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: site
  name: 'appsettings'
  properties: union(defaults, changed, mail, graph, named, userAssigned, platform)
}
