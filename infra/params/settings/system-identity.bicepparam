// The app settings with a system-assigned identity, without Graph notifications.
using '../../app/settings.bicep'

param siteName = 'func-1'
param hostName = 'func-1.azurewebsites.net'
param storageName = 'stapp'
param mailStorageUrl = 'https://stmail.blob.core.windows.net'
param mailContainer = 'mail'
param insightsConnectionString = 'InstrumentationKey=11111111-2222-3333-4444-555555555555'
param identityClientId = ''
param vaultUri = 'https://kv-1.vault.azure.net/'
param mailboxes = {
  office: {
    PROTOCOL: 'graph'
    ADDRESS: 'office@example.com'
    SIGN_IN: 'managed-identity'
  }
}
param mailboxSecretNames = {}
param routes = {}
param graphKeySecretName = ''
param tuning = {}
